/* The handover of one guest, from source S to destination D: policy/handover_source.c and handover_dest.c, state
 * by state and under their names (tests/model/transitions has every step from one to another; what this model does
 * is printed as lines "T was state" and compared with it, as what the code does is in tests/unit/test_policy_model.c).
 *
 *   network   a set of messages that were sent. Each can arrive at any time, never, again, in any order (with
 *             LIVE: once, less often or twice within NET)
 *   journal   what was asked to be written is on the disk, or not, when a crash comes; a write can fail (WRITES)
 *   crash     of either peer at any step, CRASHES in all, each perhaps a reboot of its host (REBOOTS); what its agent
 *             had begun may still be done, or not; JLOSS: a journal that is lost with it, and with its sessions
 *             what was on its way to it
 *   timers    may run out at any time; with LIVE only when nothing else can happen
 *   people    cancel on either side at any time; decide what is undecided, having looked
 *   disks     DISKS: the guest's disk moves with it. It writes whenever it runs; a mirror can break at any time; a write
 *             can still be under way at the source when the guest has been stopped there
 *
 * Never (process never_so): two running copies; a copy that runs though the other has run since they were the
 * same; none left unless a host died with it (or a
 * journal); undecided though no host died and no journal was lost; and when all
 * is over, exactly one runs and no other is left. With a disk: it never runs on a copy that lacks a write, or isn't the
 * true one; when all is over there is one true copy, also where no guest is left.
 * Every variant BREAK_... takes one rule away: spin must see it. */

#define HS_OFFERED 1
#define HS_ACCEPTED 2
#define HS_STREAMING 3
#define HS_SUSPENDED 4
#define HS_CHECKING 5
#define HS_GO 6
#define HS_DESTROYING 7
#define HS_DONE 8
#define HS_ABORTING 9
#define HS_RESUMING 10
#define HS_ABORTED 11
#define HS_REFUSED 12
#define HS_MIRRORING 13
#define HS_SYNCING 14
#define HS_SYNCED 15
#define HD_ADMITTING 32
#define HD_RESERVED 33
#define HD_PREPARING 34
#define HD_READY 35
#define HD_RESTORING 36
#define HD_RESTORED 37
#define HD_CHECKING 38
#define HD_OWNED 39
#define HD_RUNNING 40
#define HD_ABORTING 41
#define HD_ABORTED 42
#define HD_LOST 43
#define HD_DONE 44
#define HD_COMPLETING 45
#define HD_COMPLETE 46

#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef REBOOTS
#define REBOOTS 1
#endif
#ifndef WRITES
#define WRITES 1
#endif
#ifndef JLOSS
#define JLOSS 0
#endif
#ifndef NET
#define NET 1
#endif
#ifndef DISKS
#define DISKS 0
#endif

/* messages: bits of to_d and to_s */
#define OFFER 1
#define ACCEPT 2
#define RENEW 4
#define GO 8
#define DONE 16
#define ABORT 32
#define SYNCED 256
#define REFUSE 1
#define RESERVE 2
#define READY 4
#define RESTORED 8
#define RUNNING 16
#define ABORTED 32
#define LOST 256
#define ASK 64
#define UNKNOWN 128
#define COMPLETE_IS 512

/* what a machine waits for */
#define NOTHING 0
#define WRITING 1
#define HV 2
#define ADMIT 3
/* operations; with a machine that is gone: its bit in s_left, d_left */
#define SUSPEND 1
#define RESTORE 2
#define QUERY 4
#define RESUME 8
#define UNPAUSE 16
#define DESTROY 32
/* ... of the source's disk, and of the destination's */
#define MIRROR 2
#define FINISH 16
#define UNMIRROR 64
#define RETIRE 128
#define MAKE 1
#define COMPLETE 8
#define OWN 64
#define DISCARD 128
#define S_DISK_OPS (MIRROR | FINISH | UNMIRROR | RETIRE)
#define D_DISK_OPS (MAKE | COMPLETE | OWN | DISCARD)
/* copies */
#define ABSENT 0
#define RUNS 1
#define STOPPED 2 /* suspended at the source, paused at the destination */
/* the stream */
#define NONE 0
#define BEGUN 1
#define LET_IN 2
#define WHOLE 3
#define BROKEN 4
/* the mirror: NONE, BEGUN, WHOLE (all is in sync), BROKEN. Copies of the disk: */
#define OLD 0
#define ARRIVING 1
#define WHOLE_ONE 2 /* and on the disk */
#define TRUE_ONE 3

short to_d = OFFER, to_s;
byte crashes, reboots, writes, jloss, net;
byte stream;
#ifdef LIVE
bool turn; /* ticks take turns */
#endif

bool s_up = true, d_up = true;
/* the cores */
byte s_st = HS_OFFERED, s_wait, s_new, s_op;
bool s_over, s_undecided, s_seen, s_failed, s_restarted, s_suspending, s_late;
byte d_st, d_wait, d_new, d_op;
bool d_over, d_undecided, d_failed, d_told, d_recovered, d_domid, d_late;
/* the disks: the last record; d_id: whether it has the copy's domain id */
byte s_disk, d_disk;
bool d_id;
/* the hosts */
byte s_dom = RUNS, d_dom, s_left, d_left;
bool s_saving, s_booted, d_booted;
/* the disk; lacks: a write that the guest was told of isn't in the destination's copy; late: one is under way at the source */
byte mirror, s_copy = TRUE_ONE, d_copy;
bool lacks = true, late_write, d_synced;
/* for the invariants */
bool s_went_on, d_ran, died, decided;

byte was, will; /* 0 outside of a step */

c_decl {
	static unsigned char seen[64][64];
	static void see(unsigned a, unsigned b)
	{
		if (!seen[a][b]) {
			seen[a][b] = 1;
			printf("T %u %u\n", a, b);
		}
	}
}

#define S_TO(n) was = s_st; will = n; c_code { see(now.was, now.will); }; s_st = n; s_wait = NOTHING; s_late = 0; was = 0; will = 0
#define D_TO(n) was = d_st; will = n; c_code { see(now.was, now.will); }; d_st = n; d_wait = NOTHING; d_late = 0; was = 0; will = 0
#define TO_D(m) to_d = to_d | m
#define TO_S(m) to_s = to_s | m
#define S_WRITE(r) s_new = r; s_wait = WRITING
#define D_WRITE(r) d_new = r; d_wait = WRITING
#define S_HV(o) s_op = o; s_wait = HV
#define D_HV(o) d_op = o; d_wait = HV
#define BREAKS if :: mirror == BEGUN || mirror == WHOLE -> mirror = BROKEN; if :: s_dom == RUNS -> lacks = 1 :: else fi :: else fi
#define CUT if :: stream == BEGUN || stream == LET_IN -> stream = BROKEN :: else fi; BREAKS

/* ---- source ---- */

inline s_abort()
{
	if
	:: s_st == HS_OFFERED || s_st == HS_ACCEPTED ->
		TO_D(ABORT); S_TO(HS_ABORTED); s_over = 1
	:: s_st == HS_MIRRORING || s_st == HS_STREAMING || s_st == HS_SUSPENDED || s_st == HS_SYNCING || s_st == HS_SYNCED ||
	   s_st == HS_CHECKING ->
		CUT;
		if
		:: s_wait != NOTHING -> /* what is under way ends first */
			was = s_st; will = HS_ABORTING; c_code { see(now.was, now.will); }; s_st = HS_ABORTING; was = 0; will = 0;
			s_late = 0
		:: else -> S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
		fi
#ifdef BREAK_ABORT_AFTER_GO
	:: s_st == HS_GO && s_wait == NOTHING -> S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
#endif
	:: else
	fi
}

inline s_check() { S_TO(HS_CHECKING); S_HV(QUERY) }

inline s_resuming()
{
	S_TO(HS_RESUMING);
	if :: DISKS -> S_HV(UNMIRROR) :: else -> S_HV(QUERY) fi
}

inline s_write_go()
{
	S_WRITE(HS_GO);
#ifdef BREAK_GO_UNWRITTEN
	TO_D(GO);
#endif
	skip
}

inline s_persisted()
{
	s_failed = 0; s_wait = NOTHING;
	if
	:: s_new == HS_MIRRORING && s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_new == HS_MIRRORING && s_st != HS_ABORTING -> S_HV(MIRROR)
	:: s_new == HS_STREAMING && s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_new == HS_STREAMING && s_st != HS_ABORTING -> S_HV(SUSPEND); stream = BEGUN
	:: s_new == HS_SUSPENDED && s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_new == HS_SUSPENDED && s_st != HS_ABORTING -> S_TO(HS_SUSPENDED);
		if
		:: DISKS -> S_TO(HS_SYNCING); S_HV(FINISH)
		:: !DISKS && s_seen -> s_check()
		:: else
		fi
	:: s_new == HS_GO && s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_new == HS_GO && s_st != HS_ABORTING -> S_TO(HS_GO); TO_D(GO)
	:: s_new == HS_ABORTED -> s_resuming()
	:: s_new == HS_DONE -> S_TO(HS_DONE); TO_D(DONE); s_over = 1
	fi
}

#define S_SUSPENDED (s_dom == STOPPED)

/* known: the hypervisor's answer to QUERY */
inline s_looked()
{
	s_wait = NOTHING;
	if
	:: s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_st == HS_CHECKING ->
		if
		:: (s_restarted && s_dom == ABSENT) || (!s_restarted && S_SUSPENDED) -> s_write_go()
		:: else -> s_abort()
		fi
	:: s_st == HS_RESUMING ->
		if
		:: !s_booted && (S_SUSPENDED || (s_dom == RUNS && s_suspending)) -> S_HV(RESUME)
		:: else -> S_TO(HS_ABORTED); TO_D(ABORT)
		fi
	:: else
	fi
}

inline s_resumes()
{
	assert(!d_ran || decided);
	assert(s_copy == TRUE_ONE);
	s_dom = RUNS;
	if :: mirror != WHOLE -> lacks = 1 :: else fi;
	if :: stream == WHOLE -> s_went_on = 1 :: else fi
}

inline s_suspended(ok)
{
	s_wait = NOTHING;
	if
	:: s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_st != HS_ABORTING && !ok -> S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
	:: s_st != HS_ABORTING && ok -> S_WRITE(HS_SUSPENDED)
	fi
}

/* the mirror is whole, or it could not be made */
inline s_mirrored(ok)
{
	s_wait = NOTHING;
	if
	:: s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_st != HS_ABORTING && !ok -> S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
	:: s_st != HS_ABORTING && ok -> S_TO(HS_STREAMING); S_WRITE(HS_STREAMING)
	fi
}

inline s_finished(ok)
{
	s_wait = NOTHING;
	if
	:: s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
	:: s_st != HS_ABORTING && !ok -> S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
	:: s_st != HS_ABORTING && ok -> S_TO(HS_SYNCED); TO_D(SYNCED)
	fi
}

inline s_tick()
{
	if
	:: s_failed && s_st != HS_CHECKING -> S_WRITE(s_new)
	:: else ->
		s_failed = 0;
		if
		:: s_st == HS_OFFERED -> TO_D(OFFER)
		:: s_st == HS_ACCEPTED -> TO_D(ACCEPT)
		:: s_st == HS_STREAMING -> TO_D(RENEW)
		:: s_st == HS_SUSPENDED && s_restarted -> TO_D(ASK)
		:: s_st == HS_SUSPENDED && !s_restarted -> TO_D(RENEW)
		:: s_st == HS_CHECKING || s_st == HS_RESUMING -> S_HV(QUERY)
		:: s_st == HS_SYNCED -> TO_D(SYNCED)
		:: s_st == HS_ABORTING -> S_WRITE(HS_ABORTED)
#ifndef BREAK_GO_SAID_ONCE
		:: s_st == HS_GO -> TO_D(GO)
#endif
		:: s_st == HS_DESTROYING -> S_HV(DESTROY)
		:: s_st == HS_ABORTED -> TO_D(ABORT)
		:: else
		fi
	fi;
#ifdef LIVE
	s_late = 1;
#endif
	skip
}

inline s_recover()
{
	s_up = 1; s_st = s_disk; s_new = s_disk;
	if
	:: s_disk == HS_SUSPENDED && s_booted -> s_restarted = 1; TO_D(ASK)
	:: s_disk == HS_MIRRORING || s_disk == HS_STREAMING || (s_disk == HS_SUSPENDED && !s_booted) ->
		s_suspending = (s_disk == HS_STREAMING);
		S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
	:: s_disk == HS_GO -> S_TO(HS_GO); TO_D(GO)
	:: s_disk == HS_ABORTED ->
#ifndef BREAK_SECOND_RESTART
		s_suspending = 1;
#endif
		s_resuming()
	:: s_disk == HS_DONE -> s_over = 1
	:: else
	fi
}

inline s_forgets()
{
	s_wait = NOTHING; s_new = 0; s_op = 0; s_st = 0; s_over = 0; s_undecided = 0; s_seen = 0; s_failed = 0;
	s_restarted = 0; s_suspending = 0; s_late = 0
}

inline s_message(m)
{
	if
	:: s_st == 0 ->
		if :: m == RESTORED || m == COMPLETE_IS || m == RUNNING || m == ABORTED || m == ASK -> TO_D(UNKNOWN) :: else fi
	:: s_st != 0 && m == REFUSE ->
		if :: s_st == HS_OFFERED || s_st == HS_ACCEPTED -> S_TO(HS_REFUSED); s_over = 1 :: else fi
	:: s_st != 0 && m == RESERVE ->
		if :: s_st == HS_OFFERED -> S_TO(HS_ACCEPTED); TO_D(ACCEPT) :: else fi
	:: s_st != 0 && m == READY ->
		if
		:: s_st == HS_ACCEPTED && DISKS -> S_TO(HS_MIRRORING); S_WRITE(HS_MIRRORING)
		:: s_st == HS_ACCEPTED && !DISKS -> S_TO(HS_STREAMING); S_WRITE(HS_STREAMING)
		:: else
		fi
	:: s_st != 0 && m == RESTORED ->
		s_seen = 1;
		if
		:: s_st == HS_SUSPENDED && s_wait == NOTHING && !DISKS -> s_check()
		:: s_st == HS_SUSPENDED && s_wait == NOTHING && DISKS && s_restarted -> s_abort()
#ifdef BREAK_GO_BEFORE_COMPLETE
		:: s_st == HS_SYNCED && s_wait == NOTHING -> s_check()
#else
		:: s_st == HS_SYNCED && s_wait == NOTHING -> TO_D(SYNCED)
#endif
#ifndef BREAK_GO_SAID_ONCE
		:: s_st == HS_GO && s_wait == NOTHING -> TO_D(GO)
#endif
		:: s_st == HS_ABORTED -> TO_D(ABORT)
		:: else
		fi
	:: s_st != 0 && m == COMPLETE_IS ->
		if
		:: s_wait == NOTHING && (s_st == HS_SYNCED || (s_st == HS_SUSPENDED && s_restarted)) -> s_check()
		:: s_st == HS_GO && s_wait == NOTHING -> TO_D(GO)
		:: s_st == HS_ABORTED -> TO_D(ABORT)
		:: else
		fi
	:: s_st != 0 && m == RUNNING ->
		if
		:: s_st == HS_GO && s_wait == NOTHING -> s_undecided = 0; S_TO(HS_DESTROYING); S_HV(DESTROY)
		:: s_st == HS_DONE -> TO_D(DONE)
		:: else
		fi
	:: s_st != 0 && m == ASK ->
		if
#ifndef BREAK_GO_SAID_ONCE
		:: s_st == HS_GO && s_wait == NOTHING -> TO_D(GO)
#endif
		:: s_st == HS_ABORTED -> TO_D(ABORT)
		:: s_st == HS_DONE -> TO_D(DONE)
		:: else
		fi
	:: s_st != 0 && m == ABORTED ->
		if
		:: s_st == HS_GO -> s_undecided = 0; S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
		:: s_st == HS_ABORTED -> s_over = 1
		:: else -> s_abort()
		fi
	:: s_st != 0 && m == UNKNOWN ->
		if
		:: s_st == HS_GO -> s_undecided = 1
		:: s_st == HS_ABORTED -> s_over = 1
		:: else -> s_abort()
		fi
	:: s_st != 0 && m == LOST ->
		if :: s_st == HS_GO -> s_undecided = 1 :: else fi
	fi
}

/* its peer is gone; written: the record that was being written is on the disk */
inline s_crash(written)
{
	crashes++;
	if :: s_wait == WRITING && written -> s_disk = s_new :: else fi;
	if :: s_wait == HV && s_op != QUERY -> s_left = s_left | s_op :: else fi;
	BREAKS;
	s_up = 0;
	s_forgets()
}

inline s_reboot()
{
	reboots++;
	if
	:: s_dom == RUNS || d_dom == ABSENT || (s_disk != HS_GO && s_disk != HS_DONE) || d_disk == HD_ABORTED ||
	   d_st == HD_ABORTING -> died = 1
	:: else
	fi;
	s_booted = 1; s_left = 0; s_saving = 0; s_dom = ABSENT; late_write = 0;
	CUT;
	mirror = NONE
}

/* ---- destination ---- */

inline d_let_go() { D_TO(HD_ABORTED); d_over = 1 }

inline d_given_up()
{
	D_TO(HD_ABORTED); TO_S(ABORTED);
	if :: d_told -> d_over = 1; d_undecided = 0 :: else fi
}

inline d_aborting()
{
	D_TO(HD_ABORTING); D_WRITE(HD_ABORTED);
#ifdef BREAK_ABORTED_UNWRITTEN
	TO_S(ABORTED);
#endif
	skip
}

inline d_abort()
{
	if
	:: d_st == HD_CHECKING && d_wait == WRITING
	:: d_st == HD_ADMITTING || d_st == HD_RESERVED -> d_let_go()
	:: d_st == HD_PREPARING || d_st == HD_READY || d_st == HD_RESTORING || d_st == HD_RESTORED ||
	   d_st == HD_COMPLETING || d_st == HD_COMPLETE ||
	   (d_st == HD_CHECKING && d_wait != WRITING) ->
		CUT; d_undecided = 0;
		if
		:: d_wait == WRITING || d_wait == HV ->
			was = d_st; will = HD_ABORTING; c_code { see(now.was, now.will); }; d_st = HD_ABORTING; was = 0; will = 0;
			d_late = 0
		:: else -> d_aborting()
		fi
	:: else
	fi
}

inline d_owned()
{
#ifdef BREAK_UNPAUSE_BEFORE_OWN
	D_HV(UNPAUSE)
#else
	if :: DISKS -> D_HV(OWN) :: else -> D_HV(UNPAUSE) fi
#endif
}

inline d_nothing_stays()
{
	if :: DISKS -> D_HV(DISCARD) :: else -> d_given_up() fi
}

inline d_syncs()
{
	d_synced = 1;
	if
	:: d_st == HD_RESTORED && d_wait == NOTHING -> D_TO(HD_COMPLETING); D_HV(COMPLETE)
	:: d_st == HD_COMPLETE && d_wait == NOTHING -> TO_S(COMPLETE_IS)
	:: d_st == HD_ABORTED -> TO_S(ABORTED)
	:: else
	fi
}

inline d_made(ok)
{
	d_wait = NOTHING;
	if :: ok -> d_copy = ARRIVING; lacks = 1 :: else fi;
	if
	:: d_st == HD_ABORTING -> D_WRITE(HD_ABORTED)
	:: d_st != HD_ABORTING && !ok -> d_aborting()
	:: d_st != HD_ABORTING && ok -> D_TO(HD_READY); TO_S(READY)
	fi
}

inline d_completed(ok)
{
	d_wait = NOTHING;
	if :: ok -> d_copy = WHOLE_ONE :: else fi;
	if
	:: d_st == HD_ABORTING -> D_WRITE(HD_ABORTED)
	:: d_st != HD_ABORTING && !ok -> d_aborting()
	:: d_st != HD_ABORTING && ok -> D_WRITE(HD_COMPLETE)
	fi
}

inline d_clean_up()
{
	if
	:: d_domid -> D_HV(DESTROY)
	:: !d_domid && d_recovered && !d_booted -> D_HV(QUERY)
	:: else -> d_nothing_stays()
	fi
}

inline d_persisted()
{
	d_failed = 0; d_wait = NOTHING;
	if
	:: d_st == HD_ABORTING && d_new != HD_ABORTED -> D_WRITE(HD_ABORTED)
	:: else ->
		if
		:: d_new == HD_READY && DISKS -> D_HV(MAKE)
		:: d_new == HD_READY && !DISKS -> D_TO(HD_READY); TO_S(READY)
		:: d_new == HD_COMPLETE -> D_TO(HD_COMPLETE); TO_S(COMPLETE_IS)
		:: d_new == HD_RESTORED -> D_TO(HD_RESTORED); TO_S(RESTORED);
#ifdef BREAK_UNPAUSE_WITHOUT_GO
			D_HV(UNPAUSE);
#endif
			if :: DISKS && d_synced -> d_syncs() :: else fi
		:: d_new == HD_OWNED -> D_TO(HD_OWNED); d_owned()
		:: d_new == HD_RUNNING -> D_TO(HD_RUNNING); TO_S(RUNNING)
		:: d_new == HD_ABORTED -> d_clean_up()
		:: d_new == HD_LOST -> D_TO(HD_LOST)
		fi
	fi
}

/* A copy that an agent builds to the end for a peer that is gone is there as `incoming`, too. */
#define D_THERE (d_dom != ABSENT || (d_left & RESTORE))

inline d_looked()
{
	d_wait = NOTHING;
	if
	:: d_st == HD_ABORTING && d_new != HD_ABORTED -> D_WRITE(HD_ABORTED)
	:: d_st == HD_CHECKING ->
		if
		:: d_domid && d_dom != ABSENT -> D_WRITE(HD_OWNED);
#ifdef BREAK_UNPAUSE_UNWRITTEN
			d_dom = RUNS; d_ran = 1;
#endif
			skip
		:: else -> d_domid = 0; d_aborting()
		fi
	:: d_st == HD_OWNED ->
		if
#ifndef BREAK_UNPAUSE_BEFORE_OWN
		:: DISKS && d_copy != TRUE_ONE -> D_HV(OWN)
#endif
		:: else ->
		if
		:: d_dom == RUNS -> D_WRITE(HD_RUNNING)
		:: d_dom == STOPPED -> D_HV(UNPAUSE)
		:: else -> D_WRITE(HD_RUNNING)
		fi
		fi
	:: d_st == HD_ABORTING && d_new == HD_ABORTED ->
		if
		:: D_THERE && d_dom != RUNS -> d_domid = 1; D_HV(DESTROY)
		:: else -> d_nothing_stays()
		fi
	:: else
	fi
}

inline d_unpauses()
{
	if
	:: d_dom == STOPPED ->
		assert(!s_went_on || decided);
		assert(!DISKS || !lacks || decided);
		assert(!DISKS || d_copy == TRUE_ONE);
		d_dom = RUNS; d_ran = 1
	:: else
	fi
}

inline d_restored(ok)
{
	d_wait = NOTHING;
	if :: ok -> d_domid = 1; d_dom = STOPPED :: else fi;
	if
	:: d_st == HD_ABORTING -> D_WRITE(HD_ABORTED)
	:: d_st != HD_ABORTING && !ok -> d_aborting()
	:: d_st != HD_ABORTING && ok -> D_WRITE(HD_RESTORED)
	fi
}

inline d_tick()
{
	if
	:: d_failed && d_st != HD_CHECKING -> D_WRITE(d_new)
	:: else ->
		d_failed = 0;
		if
		:: d_st == HD_READY -> TO_S(READY)
		:: d_st == HD_RESTORED && d_recovered -> TO_S(ASK)
		:: d_st == HD_RESTORED && !d_recovered -> TO_S(RESTORED)
		:: d_st == HD_COMPLETE && d_recovered -> TO_S(ASK)
		:: d_st == HD_COMPLETE && !d_recovered -> TO_S(COMPLETE_IS)
		:: d_st == HD_PREPARING -> D_WRITE(HD_READY)
		:: d_st == HD_ABORTING -> D_WRITE(HD_ABORTED)
		:: d_st == HD_CHECKING || d_st == HD_OWNED -> D_HV(QUERY)
		:: d_st == HD_RUNNING -> TO_S(RUNNING)
		:: d_st == HD_LOST -> TO_S(ASK)
		:: d_st == HD_RESTORING && d_domid -> D_WRITE(HD_RESTORED)
		:: d_st == HD_ABORTED -> TO_S(ABORTED)
		:: else
		fi
	fi;
#ifdef LIVE
	d_late = 1;
#endif
	skip
}

inline d_recover()
{
	d_up = 1; d_st = d_disk; d_new = d_disk; d_domid = d_id; d_recovered = (d_disk != 0);
	if
	:: d_disk == HD_READY -> d_aborting()
	:: d_disk == HD_COMPLETE && !d_booted -> D_TO(HD_COMPLETE); TO_S(ASK)
	:: d_disk == HD_RESTORED && !d_booted -> D_TO(HD_RESTORED); TO_S(ASK);
#ifdef BREAK_RESTART_UNPAUSES
		D_HV(UNPAUSE);
#endif
		skip
	:: (d_disk == HD_RESTORED || d_disk == HD_COMPLETE) && d_booted -> d_domid = 0; d_aborting()
	:: d_disk == HD_OWNED && !d_booted -> D_TO(HD_OWNED); d_owned()
	:: d_disk == HD_OWNED && d_booted ->
#ifdef BREAK_LOST_IS_ABORTED
		d_domid = 0; d_aborting()
#else
		d_undecided = 1; D_TO(HD_LOST); D_WRITE(HD_LOST)
#endif
	:: d_disk == HD_RUNNING -> D_TO(HD_RUNNING); TO_S(RUNNING)
	:: d_disk == HD_ABORTED -> D_TO(HD_ABORTING);
		if :: d_booted -> d_domid = 0 :: else fi;
		d_clean_up()
	:: d_disk == HD_LOST -> d_undecided = 1; D_TO(HD_LOST)
	:: else -> d_over = (d_disk != 0)
	fi
}

inline d_forgets()
{
	d_wait = NOTHING; d_new = 0; d_op = 0; d_st = 0; d_over = 0; d_undecided = 0; d_failed = 0; d_told = 0;
	d_recovered = 0; d_domid = 0; d_late = 0; d_synced = 0
}

inline d_message(m)
{
	if
	:: d_st == 0 ->
		if
		:: m == OFFER -> D_TO(HD_ADMITTING); d_wait = ADMIT; d_booted = 0
		:: m == ABORT || m == ASK || m == GO || m == SYNCED ->
#ifdef BREAK_UNKNOWN_IS_ABORTED
			TO_S(ABORTED)
#else
			TO_S(UNKNOWN)
#endif
		:: else
		fi
	:: d_st != 0 && m == OFFER ->
		if
		:: d_st == HD_RESERVED -> TO_S(RESERVE)
		:: d_st == HD_ABORTED -> TO_S(REFUSE)
		:: else
		fi
	:: d_st != 0 && m == ACCEPT ->
		if
		:: d_st == HD_RESERVED -> D_TO(HD_PREPARING); D_WRITE(HD_READY)
		:: d_st == HD_READY -> TO_S(READY)
		:: else
		fi
	:: d_st != 0 && m == RENEW ->
		if
		:: d_st == HD_RESTORED && d_wait == NOTHING -> TO_S(RESTORED)
		:: d_st == HD_ABORTED -> TO_S(ABORTED)
		:: else
		fi
	:: d_st != 0 && m == SYNCED -> d_syncs()
	:: d_st != 0 && m == GO ->
		if
#ifdef BREAK_GO_BEFORE_COMPLETE
		:: (d_st == HD_RESTORED || d_st == HD_COMPLETE) && d_wait == NOTHING ->
#else
		:: d_st == (DISKS -> HD_COMPLETE : HD_RESTORED) && d_wait == NOTHING ->
#endif
			 d_undecided = 0; D_TO(HD_CHECKING); D_HV(QUERY)
		:: d_st == HD_RUNNING -> TO_S(RUNNING)
		:: d_st == HD_LOST -> TO_S(LOST)
		:: d_st == HD_ABORTED -> TO_S(ABORTED)
		:: else
		fi
	:: d_st != 0 && m == ABORT ->
		if
		:: d_over && d_st == HD_ABORTED -> TO_S(ABORTED)
		:: !d_over && d_st == HD_LOST && DISKS && d_wait == HV
		:: !d_over && d_st == HD_LOST && DISKS && d_wait != HV -> d_told = 1; d_undecided = 0; D_HV(DISCARD)
		:: !d_over && (d_st == HD_ABORTED || (d_st == HD_LOST && !DISKS)) -> d_told = 1; d_given_up()
		:: else -> d_told = 1; d_abort()
		fi
	:: d_st != 0 && m == DONE ->
		if
		:: d_st == HD_LOST && !DISKS -> d_undecided = 0; d_let_go()
		:: d_st == HD_LOST && DISKS && d_wait != HV -> d_undecided = 0; D_HV(OWN)
		:: d_st == HD_RUNNING -> D_TO(HD_DONE); d_over = 1
		:: else
		fi
	:: d_st != 0 && m == ASK ->
		if
		:: d_wait != NOTHING
		:: d_wait == NOTHING && d_st == HD_RESTORED -> TO_S(RESTORED)
		:: d_wait == NOTHING && d_st == HD_COMPLETE -> TO_S(COMPLETE_IS)
		:: d_wait == NOTHING && d_st == HD_RUNNING -> TO_S(RUNNING)
		:: d_wait == NOTHING && d_st == HD_ABORTED -> TO_S(ABORTED)
		:: else
		fi
	:: d_st != 0 && m == UNKNOWN ->
		if
		:: d_st == HD_RESTORED || d_st == HD_COMPLETE -> d_undecided = 1
		:: d_st == HD_ABORTED -> d_over = 1
		:: d_st == HD_LOST && !DISKS -> d_undecided = 0; d_let_go()
		:: d_st == HD_RUNNING -> D_TO(HD_DONE); d_over = 1
		:: else
		fi
	fi
}

inline d_crash(written)
{
	crashes++;
	if :: d_wait == WRITING && written -> d_disk = d_new; d_id = d_domid :: else fi;
	if :: d_wait == HV && d_op != QUERY -> d_left = d_left | d_op :: else fi;
	CUT;
	d_up = 0;
	d_forgets()
}

inline d_reboot()
{
	reboots++;
	if :: d_dom == RUNS || s_dom == ABSENT || d_disk == HD_OWNED || d_disk == HD_RUNNING -> died = 1 :: else fi;
	d_booted = 1; d_left = 0; d_dom = ABSENT;
	if :: stream != NONE -> stream = BROKEN :: else fi;
	if :: d_copy == ARRIVING -> lacks = 1 :: else fi
}

/* ---- the world ---- */

#ifdef LIVE
#define TAKEN_D(m) to_d = to_d & ~m
#define TAKEN_S(m) to_s = to_s & ~m
#define IDLE (to_d == 0 && to_s == 0 && s_wait == NOTHING && d_wait == NOTHING && s_up && d_up && \
              s_left == 0 && d_left == 0 && stream != BEGUN && stream != LET_IN && !s_over && !d_over)
/* said once more in vain: then it is late */
#define S_LATE_DUE (s_late && (s_st == HS_OFFERED || s_st == HS_ACCEPTED || s_st == HS_SYNCED || (s_st == HS_SUSPENDED && !s_restarted)))
#define D_LATE_DUE (d_late && (d_st == HD_RESERVED || d_st == HD_READY))
#define S_TURN (!turn || !D_TICKS)
#define D_TURN (turn || !S_TICKS)
#define TURN(n) turn = n
#define S_LATE (s_late && IDLE)
#define D_LATE (d_late && IDLE)
#else
#define TAKEN_D(m) skip
#define TAKEN_S(m) skip
#define IDLE true
#define S_TURN true
#define D_TURN true
#define TURN(n) skip
#define S_LATE_DUE false
#define D_LATE_DUE false
#define S_LATE true
#define D_LATE true
#endif

#define AT_D(m) \
	:: d_step { (to_d & m) && d_up -> TAKEN_D(m); d_message(m) } \
	MAYBE_D(m)
#define AT_S(m) \
	:: d_step { (to_s & m) && s_up -> TAKEN_S(m); s_message(m) } \
	MAYBE_S(m)
#ifdef LIVE
#define MAYBE_D(m) :: d_step { (to_d & m) && d_up && net < NET -> net++; d_message(m) } \
	:: d_step { (to_d & m) && (net < NET || !d_up) -> if :: d_up -> net++ :: else fi; TAKEN_D(m) }
#define MAYBE_S(m) :: d_step { (to_s & m) && s_up && net < NET -> net++; s_message(m) } \
	:: d_step { (to_s & m) && (net < NET || !s_up) -> if :: s_up -> net++ :: else fi; TAKEN_S(m) }
#else
#define MAYBE_D(m)
#define MAYBE_S(m)
#endif

#define FAILS(s_there, d_there) \
	:: d_step { s_up && s_wait == WRITING && writes < WRITES -> \
		writes++; s_wait = NOTHING; s_failed = 1; s_there; \
		if \
		:: s_st == s_new && s_new == (DISKS -> HS_MIRRORING : HS_STREAMING) -> TO_D(ABORT); S_TO(HS_ABORTED); s_over = 1 \
		:: else \
		fi } \
	:: d_step { d_up && d_wait == WRITING && writes < WRITES -> writes++; d_wait = NOTHING; d_failed = 1; d_there }

#ifdef BREAK_ABORT_AFTER_GO
#define CANCEL_LATE (s_st == HS_GO)
#else
#define CANCEL_LATE false
#endif

#define S_TICKS (s_up && s_st != 0 && !s_over && s_wait == NOTHING)
#define D_TICKS (d_up && d_st != 0 && !d_over && d_wait == NOTHING)
#define S_END (s_up && (s_st == 0 || s_over))
#define D_END (d_up && (d_st == 0 || d_over))
#define ALL_OVER (S_END && D_END && s_left == 0 && d_left == 0)

active proctype world()
{
	c_code { see(0, now.s_st); };
end:	do
	AT_D(OFFER) AT_D(ACCEPT) AT_D(RENEW) AT_D(GO) AT_D(DONE) AT_D(ABORT) AT_D(ASK) AT_D(UNKNOWN)
#if DISKS
	AT_D(SYNCED) AT_S(COMPLETE_IS)
#endif
	AT_S(REFUSE) AT_S(RESERVE) AT_S(READY) AT_S(RESTORED) AT_S(RUNNING) AT_S(ABORTED) AT_S(ASK) AT_S(UNKNOWN)
	AT_S(LOST)

	/* the disks */
	:: d_step { s_up && s_wait == WRITING -> s_disk = s_new; s_persisted() }
	:: d_step { d_up && d_wait == WRITING -> d_disk = d_new; d_id = d_domid; d_persisted() }
	FAILS(skip, skip)
	FAILS(s_disk = s_new, d_disk = d_new; d_id = d_domid) /* said to have failed, and yet there */

	/* the stream */
	:: d_step { stream == BEGUN && d_up && d_st == HD_READY && d_wait == NOTHING ->
		stream = LET_IN; D_TO(HD_RESTORING); D_HV(RESTORE) }
	:: d_step { stream == BEGUN || stream == LET_IN -> stream = BROKEN }
	:: d_step { stream == LET_IN && s_dom == RUNS && ((s_wait == HV && s_op == SUSPEND) || (s_left & SUSPEND)) ->
		s_dom = STOPPED; s_saving = 1 }
#if DISKS
	:: d_step { stream == LET_IN && s_dom == RUNS && ((s_wait == HV && s_op == SUSPEND) || (s_left & SUSPEND)) ->
		s_dom = STOPPED; s_saving = 1; late_write = 1 }

	/* the mirror, and what its operations come to */
	:: d_step { mirror == BEGUN || mirror == WHOLE -> BREAKS }
	:: d_step { late_write -> late_write = 0; assert(mirror != WHOLE || !d_ran) }
	:: d_step { s_up && s_wait == HV && s_op == MIRROR && mirror == NONE && d_up && d_st == HD_READY -> mirror = BEGUN }
	:: d_step { s_up && s_wait == HV && s_op == MIRROR && mirror == BEGUN -> mirror = WHOLE; lacks = 0; s_mirrored(1) }
	:: d_step { s_up && s_wait == HV && s_op == MIRROR -> BREAKS; s_mirrored(0) }
	:: d_step { s_up && s_wait == HV && s_op == FINISH && mirror == WHOLE ->
#ifndef BREAK_MIRROR_LEFT
		mirror = NONE; late_write = 0;
#endif
		s_finished(1) }
#ifdef BREAK_FINISH_UNCHECKED
	:: d_step { s_up && s_wait == HV && s_op == FINISH && mirror == BROKEN -> mirror = NONE; late_write = 0; s_finished(1) }
#endif
	:: d_step { s_up && s_wait == HV && s_op == FINISH -> s_finished(0) }
	:: d_step { s_up && s_wait == HV && s_op == UNMIRROR ->
		if :: s_dom == RUNS -> lacks = 1 :: else fi;
		mirror = NONE; S_HV(QUERY) }
	:: d_step { s_up && s_wait == HV && s_op == RETIRE -> s_copy = OLD; S_WRITE(HS_DONE) }
	:: d_step { !s_up && (s_left & RETIRE) -> s_left = s_left & ~S_DISK_OPS; s_copy = OLD }
	:: d_step { !s_up && (s_left & (FINISH | UNMIRROR)) ->
		s_left = s_left & ~S_DISK_OPS; late_write = 0; mirror = NONE;
		if :: s_dom == RUNS -> lacks = 1 :: else fi }
	:: d_step { !s_up && (s_left & S_DISK_OPS) -> s_left = s_left & ~S_DISK_OPS }

	/* the destination's copy */
	:: d_step { d_up && d_wait == HV && d_op == MAKE -> d_made(1) }
	:: d_step { d_up && d_wait == HV && d_op == MAKE -> d_made(0) }
	:: d_step { d_up && d_wait == HV && d_op == COMPLETE -> d_completed(1) }
	:: d_step { d_up && d_wait == HV && d_op == COMPLETE -> d_completed(0) }
	:: d_step { d_up && d_wait == HV && d_op == OWN ->
		assert(d_copy == WHOLE_ONE || d_copy == TRUE_ONE);
		d_copy = TRUE_ONE;
		if :: d_st == HD_LOST -> d_let_go() :: else -> D_HV(UNPAUSE) fi }
	:: d_step { d_up && d_wait == HV && d_op == DISCARD ->
		d_copy = OLD;
		if :: d_st == HD_LOST && !d_told -> d_let_go() :: else -> d_given_up() fi }
	:: d_step { !d_up && (d_left & MAKE) -> d_left = d_left & ~D_DISK_OPS; d_copy = ARRIVING }
	:: d_step { !d_up && (d_left & COMPLETE) -> d_left = d_left & ~D_DISK_OPS; d_copy = WHOLE_ONE }
	:: d_step { !d_up && (d_left & OWN) -> d_left = d_left & ~D_DISK_OPS; d_copy = TRUE_ONE }
	:: d_step { !d_up && (d_left & DISCARD) -> d_left = d_left & ~D_DISK_OPS; d_copy = OLD }
	:: d_step { !d_up && (d_left & D_DISK_OPS) -> d_left = d_left & ~D_DISK_OPS }
#endif

	/* the source's hypervisor */
	:: d_step { s_up && s_wait == HV && s_op == SUSPEND && stream == LET_IN && s_saving ->
		s_saving = 0; stream = WHOLE; s_suspended(1) }
	:: d_step { s_up && s_wait == HV && s_op == SUSPEND && stream == BROKEN -> s_saving = 0; s_suspended(0) }
	:: d_step { s_up && s_wait == HV && s_op == QUERY -> s_looked() }
	:: d_step { s_up && s_wait == HV && s_op == RESUME ->
		s_wait = NOTHING;
		if
		:: s_left & SUSPEND /* later */
		:: !(s_left & SUSPEND) && s_dom == STOPPED -> s_resumes(); S_TO(HS_ABORTED); TO_D(ABORT)
		:: else -> s_suspending = 0
		fi }
	:: d_step { s_up && s_wait == HV && s_op == DESTROY ->
		s_dom = ABSENT;
		if :: DISKS -> S_HV(RETIRE) :: else -> S_WRITE(HS_DONE) fi }
	:: d_step { (s_left & SUSPEND) && stream == LET_IN && s_saving ->
		s_saving = 0; stream = WHOLE; s_left = s_left & ~SUSPEND }
	:: d_step { (s_left & SUSPEND) && (stream == BROKEN || stream == WHOLE) -> s_saving = 0; s_left = s_left & ~SUSPEND }
	:: d_step { (s_left & RESUME) && !(s_left & SUSPEND) ->
		s_left = s_left & ~RESUME;
		if :: s_dom == STOPPED -> s_resumes() :: else fi }
	:: d_step { s_left & RESUME -> s_left = s_left & ~RESUME }
	:: d_step { s_left & DESTROY -> s_left = s_left & ~DESTROY; s_dom = ABSENT }
	:: d_step { s_left & DESTROY -> s_left = s_left & ~DESTROY }

	/* the destination's */
#ifdef BREAK_TRUE_COPY_TAKEN
	:: d_step { d_up && d_wait == ADMIT && d_dom == ABSENT ->
#else
	:: d_step { d_up && d_wait == ADMIT && d_dom == ABSENT && d_copy != TRUE_ONE ->
#endif
		D_TO(HD_RESERVED); TO_S(RESERVE) }
	:: d_step { d_up && d_wait == ADMIT -> D_TO(HD_ABORTED); TO_S(REFUSE); d_over = 1 }
	:: d_step { d_up && d_wait == HV && d_op == RESTORE && stream == WHOLE -> d_restored(1) }
	:: d_step { d_up && d_wait == HV && d_op == RESTORE -> d_restored(0) }
	:: d_step { d_up && d_wait == HV && d_op == QUERY -> d_looked() }
	:: d_step { d_up && d_wait == HV && d_op == UNPAUSE -> d_unpauses(); D_HV(QUERY) }
	:: d_step { d_up && d_wait == HV && d_op == DESTROY ->
		if :: d_domid && d_dom != ABSENT -> d_dom = ABSENT :: else fi;
		d_left = d_left & ~RESTORE; d_domid = 0; d_nothing_stays() }
	:: d_step { (d_left & RESTORE) && stream == WHOLE -> d_left = d_left & ~RESTORE; d_dom = STOPPED }
	:: d_step { d_left & RESTORE -> d_left = d_left & ~RESTORE }
	:: d_step { d_left & UNPAUSE -> d_left = d_left & ~UNPAUSE; d_unpauses() }
	:: d_step { d_left & UNPAUSE -> d_left = d_left & ~UNPAUSE }
	:: d_step { d_left & DESTROY -> d_left = d_left & ~DESTROY; d_dom = ABSENT }
	:: d_step { d_left & DESTROY -> d_left = d_left & ~DESTROY }

	/* time */
	:: d_step { S_TICKS && IDLE && !S_LATE_DUE && !D_LATE_DUE && S_TURN -> s_tick(); TURN(1) }
	:: d_step { D_TICKS && IDLE && !S_LATE_DUE && !D_LATE_DUE && D_TURN -> d_tick(); TURN(0) }
	:: d_step { s_up && s_wait == NOTHING && !s_over && !s_failed && S_LATE && (s_st == HS_OFFERED || s_st == HS_ACCEPTED ||
	            s_st == HS_SYNCED || (s_st == HS_SUSPENDED && !s_restarted)) -> s_abort() }
	:: d_step { d_up && d_wait == NOTHING && !d_over && !d_failed && D_LATE && d_st == HD_RESERVED -> d_let_go() }
	:: d_step { d_up && d_wait == NOTHING && !d_over && !d_failed && D_LATE && d_st == HD_READY -> d_abort() }
#ifdef BREAK_TIMER_ENDS_RESTORED
	:: d_step { d_up && d_wait == NOTHING && d_st == HD_RESTORED -> d_dom = ABSENT; d_disk = 0; d_forgets() }
#endif

	/* crashes */
	:: d_step { s_up && crashes < CRASHES -> s_crash(0) }
	:: d_step { s_up && crashes < CRASHES && s_wait == WRITING -> s_crash(1) }
	:: d_step { d_up && crashes < CRASHES -> d_crash(0) }
	:: d_step { d_up && crashes < CRASHES && d_wait == WRITING -> d_crash(1) }
	:: d_step { !s_up && reboots < REBOOTS -> s_reboot() }
	:: d_step { !d_up && reboots < REBOOTS -> d_reboot() }
	:: d_step { !s_up && jloss < JLOSS && s_disk != 0 -> jloss++; s_disk = 0; to_s = 0 }
	:: d_step { !d_up && jloss < JLOSS && d_disk != 0 -> jloss++; d_disk = 0; d_id = 0; to_d = 0 }
	:: d_step { !s_up && !(DISKS && (s_left & S_DISK_OPS)) -> s_recover() }
	:: d_step { !d_up && !(DISKS && (d_left & D_DISK_OPS)) -> d_recover() }

	/* what is over is forgotten: its records, then the rest */
	:: d_step { s_up && s_over && s_disk != 0 -> s_disk = 0 }
	:: d_step { d_up && d_over && d_disk != 0 -> d_disk = 0; d_id = 0 }
	:: d_step { s_up && s_over && s_disk == 0 && s_wait == NOTHING -> s_forgets() }
	:: d_step { d_up && d_over && d_disk == 0 && d_wait == NOTHING -> d_forgets() }

	/* people: cancel; decide, having looked at both hosts when nothing is under way there */
	:: d_step { s_up && !s_over && (s_st == HS_OFFERED || s_st == HS_ACCEPTED || s_st == HS_STREAMING ||
	            s_st == HS_SUSPENDED || s_st == HS_CHECKING || s_st == HS_MIRRORING || s_st == HS_SYNCING ||
	            s_st == HS_SYNCED || CANCEL_LATE) -> s_abort() }
	:: d_step { d_up && !d_over && ((d_st >= HD_ADMITTING && d_st <= HD_CHECKING) || d_st >= HD_COMPLETING) && !(d_st == HD_CHECKING && d_wait == WRITING) ->
		if :: s_dom == ABSENT -> died = 1 /* the source's host has, and nobody told who cancels */ :: else fi;
		d_abort() }
	:: d_step { s_up && s_undecided && !s_over && s_left == 0 && d_left == 0 && d_wait != HV ->
		decided = 1; s_undecided = 0;
		if
		:: d_dom != RUNS -> S_TO(HS_ABORTING); S_WRITE(HS_ABORTED)
		:: else -> S_TO(HS_DESTROYING); S_HV(DESTROY)
		fi }
	:: d_step { d_up && d_undecided && !d_over && s_left == 0 && d_left == 0 && !(DISKS && d_wait == HV) ->
		decided = 1; d_undecided = 0;
		if
		:: d_st == HD_LOST && DISKS && s_copy != TRUE_ONE -> D_HV(OWN)
		:: d_st == HD_LOST && DISKS && s_copy == TRUE_ONE -> D_HV(DISCARD)
		:: d_st == HD_LOST && !DISKS -> d_let_go()
		:: else -> d_abort()
		fi }
	od
}

#ifdef LIVE
/* It ends. What only a person can decide has ended as far as machines go. */
ltl ends { <> (ALL_OVER || s_undecided || d_undecided) }
#else
#define ONE ((s_dom == RUNS) + (d_dom == RUNS) == 1)
#define NEVER_TWO (!(s_dom == RUNS && d_dom == RUNS))
#define NOT_LOST (s_dom != ABSENT || d_dom != ABSENT || (d_left & RESTORE) || died || decided || jloss)
#define FOR_A_REASON (!(s_undecided || d_undecided) || reboots || jloss)
#define WELL_OVER (!ALL_OVER || died || jloss || decided || (ONE && s_dom != STOPPED && d_dom != STOPPED))
#define ONE_DISK (!DISKS || !ALL_OVER || jloss || ((s_copy == TRUE_ONE) + (d_copy == TRUE_ONE) == 1 && \
                  (d_copy == OLD || d_copy == TRUE_ONE)))
active proctype never_so()
{
end:	if
	:: atomic { !NEVER_TWO -> assert(NEVER_TWO) }
	:: atomic { !NOT_LOST -> assert(NOT_LOST) }
	:: atomic { !FOR_A_REASON -> assert(FOR_A_REASON) }
	:: atomic { !WELL_OVER -> assert(WELL_OVER) }
	:: atomic { !ONE_DISK -> assert(ONE_DISK) }
	fi
}
#endif
