/* Moves of whole environments, all or none: policy/envmove_lead.c, envmove_going.c, envmove_room.c, envmove_grant.c and
 * envmove_lease.c, phases under their names. MOVES environments (the first has the lowest id), each with a guest on both
 * of two hosts, for two hosts of another domain, each with room for CAP guests; LEADS representatives, one a move, or
 * both for the same move: the one that began it, and the one that its hosts turn to.
 *
 *   network   what a lead says is late, in any order, or lost; so are answers. What was said in an earlier attempt
 *             isn't heard any more (5 s back-off at least)
 *   crashes   DEATHS: of representatives, at any step; they keep nothing. HOSTS: of hosts, that keep their records
 *   time      terms end, trust ends, timers run out whenever they may; what is trusted hasn't ended: terms.pml shows that.
 *             LIVE: messages, disks, hosts first, then one timer after the other
 *
 * Never: GO is first said without all grants and all leases (by a lead that nobody deposed); a guest is handed over
 * without its lease, or without GO on its host's disk; more guests and leases than room; and when all is over, with one
 * lead a move: some of its guests gone and others where they were, and not left and shown. LIVE: it is all over at
 * last, and no grant or lease is kept. Every variant BREAK_... takes one rule away: spin must see it.
 *
 * Not so, and looked for no further (all of its guests run, but some there, some here, and no lead says so): two leads
 * at once, each of which reaches but one host for more than half a minute; or a lead that dies when one host has heard
 * its GO and the other reaches no representative for the whole term of its grant. */

#ifndef MOVES
#define MOVES 2
#endif
#ifndef LEADS
#define LEADS 2
#endif
#ifndef CAP
#define CAP 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef HOSTS
#define HOSTS 0
#endif
#ifndef LOSS
#define LOSS 1
#endif
#ifndef SLIPS
#define SLIPS 1 /* how often a term, or trust in it, runs out by itself */
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2 /* 6 in the code */
#endif
#ifndef BALLOTS
#define BALLOTS 3
#endif

#define EL_LOOKING 1
#define EL_GRANTING 2
#define EL_ASKING 3
#define EL_GOING 4
#define EL_BACKING_OFF 5
#define EL_TAKING_OVER 6
#define EL_GIVING_BACK 7
#define EL_MOVED 8 /* or EL_SPLIT */
#define EL_REFUSED 10
#define EG_WRITING 64
#define EG_GRANTED 65
#define EG_GO 66
#define EE_LEASED 97
#define HERE 98 /* the guest came */

#define M(l) ((l) % MOVES)
#define AT(l, h) ((l) * 2 + (h))

/* leads */
byte phase[LEADS], ballot[LEADS], attempts[LEADS], waited[LEADS];
bool again[LEADS];              /* then: BACKING_OFF, not REFUSED */
bool granted[4], answered[4], went[4]; /* of each lead's two hosts */
bool room[LEADS], any[LEADS];
/* on their way to a host; with the ballot */
byte m_grant[4], m_release[4], m_take[4], m_go[4];
/* hosts: the grant, and what the disk has of it */
byte g_move[2], g_phase[2], g_ballot[2], g_lead[2];
byte d_move[2], d_phase[2], d_ballot[2], d_lead[2];
bool writing[2], trusts[2], asked[2]; /* asked: by TAKE, answered with HELD */
bool last[4];                   /* [move, host]: over, and kept for who asks again */
byte released[4];               /* [move, host] */
byte guest[4];                  /* [move, host]: 0 where it was, 1 moved, 2 left and shown */
byte lease[4];                  /* [move, host of the other domain] */
bool go_said[2];
byte deaths, hosts, loss, slips, turn;

#define OVER(l) (phase[l] == 0 || phase[l] == EL_MOVED || phase[l] == EL_REFUSED)
#define BEFORE_GO(l) (phase[l] == EL_GRANTING || phase[l] == EL_ASKING)
#define USED(h) ((lease[AT(0, h)] != 0) + (MOVES > 1 && lease[AT(1, h)] != 0))
#define COUNTS(h, l, b) (b > g_ballot[h] || (b == g_ballot[h] && g_lead[h] == l))
#define DEPOSED(l) (LEADS > MOVES && ballot[1 - l] > ballot[l])

inline to(l, p) { phase[l] = p; waited[l] = 0 }

inline hush(l) /* what was said before isn't heard any more */
{
	m_grant[AT(l, 0)] = 0; m_grant[AT(l, 1)] = 0; m_release[AT(l, 0)] = 0; m_release[AT(l, 1)] = 0;
	m_take[AT(l, 0)] = 0; m_take[AT(l, 1)] = 0; m_go[AT(l, 0)] = 0; m_go[AT(l, 1)] = 0
}

/* The room of a move gives its leases back (BACK, DROP); those in use by a host that goes are its own by now. */
inline drop(m)
{
	if :: lease[AT(m, 0)] == EE_LEASED && !(g_move[0] == m + 1 && g_phase[0] == EG_GO) -> lease[AT(m, 0)] = 0 :: else fi;
	if :: lease[AT(m, 1)] == EE_LEASED && !(g_move[1] == m + 1 && g_phase[1] == EG_GO) -> lease[AT(m, 1)] = 0 :: else fi
}

inline give_back(l, once_more)
{
	again[l] = once_more; answered[AT(l, 0)] = 0; answered[AT(l, 1)] = 0; room[l] = 0;
	granted[AT(l, 0)] = 0; granted[AT(l, 1)] = 0;
	to(l, EL_GIVING_BACK); m_release[AT(l, 0)] = ballot[l]; m_release[AT(l, 1)] = ballot[l];
	drop(M(l))
}

inline again_or_refused(l)
{
	attempts[l]++;
	if :: attempts[l] < ATTEMPTS -> give_back(l, 1) :: else -> give_back(l, 0) fi
}

inline refused(l) { to(l, EL_REFUSED); room[l] = 0; granted[AT(l, 0)] = 0; granted[AT(l, 1)] = 0; hush(l) }

inline take_over(l, b)
{
	hush(l);
	if :: b >= ballot[l] -> ballot[l] = b + 1 :: else -> ballot[l] = ballot[l] + 1 fi;
	any[l] = 0; room[l] = 0; granted[AT(l, 0)] = 0; granted[AT(l, 1)] = 0; answered[AT(l, 0)] = 0; answered[AT(l, 1)] = 0;
	went[AT(l, 0)] = 0; went[AT(l, 1)] = 0;
	to(l, EL_TAKING_OVER); m_take[AT(l, 0)] = ballot[l]; m_take[AT(l, 1)] = ballot[l]
}

inline say_go(l)
{
	to(l, EL_GOING); went[AT(l, 0)] = 0; went[AT(l, 1)] = 0; m_go[AT(l, 0)] = ballot[l]; m_go[AT(l, 1)] = ballot[l];
	room[l] = 0; granted[AT(l, 0)] = 0; granted[AT(l, 1)] = 0
}

/* ---- answers, to a lead ---- */

/* NONE of ballot b; flag: its guests are gone */
inline hears_none(l, h, b, flag)
{
	if
	:: OVER(l)
	:: !OVER(l) && b > ballot[l] -> refused(l)
	:: !OVER(l) && b <= ballot[l] && (phase[l] == EL_GIVING_BACK || phase[l] == EL_TAKING_OVER) -> answered[AT(l, h)] = 1
	:: !OVER(l) && b == ballot[l] && BEFORE_GO(l) -> again_or_refused(l)
	:: !OVER(l) && b <= ballot[l] && phase[l] == EL_GOING ->
		if :: flag -> went[AT(l, h)] = 1 :: else -> went[AT(l, h)] = 0; m_grant[AT(l, h)] = ballot[l] fi
	:: else
	fi
}

#define UNFINISHED(l, h) (guest[AT(M(l), h)] == 0)

inline hears_held(l, h, b, flag)
{
	if
	:: OVER(l) -> /* whoever represents now takes it over */
		if
		:: UNFINISHED(l, h) && (phase[l] == 0 || b >= ballot[l]) && b < BALLOTS - 1 && ballot[l] < BALLOTS -> take_over(l, b)
		:: else
		fi
	:: !OVER(l) && b > ballot[l] -> refused(l)
	:: !OVER(l) && b <= ballot[l] && phase[l] == EL_TAKING_OVER && b == ballot[l] ->
		answered[AT(l, h)] = 1; went[AT(l, h)] = flag;
		if :: flag -> any[l] = 1 :: else fi
	:: !OVER(l) && b <= ballot[l] && phase[l] == EL_GIVING_BACK && flag && ballot[l] < BALLOTS -> take_over(l, b)
	:: !OVER(l) && b == ballot[l] && phase[l] == EL_GOING && flag -> went[AT(l, h)] = 1
	:: else
	fi
}

inline hears_busy(l, other) /* BUSY with, or YIELD to, another move */
{
	if
#ifndef BREAK_HOLD_AND_WAIT
	:: BEFORE_GO(l) && other < M(l) -> again_or_refused(l)
#endif
	:: else
	fi
}

/* ---- a host ---- */

inline write_down(h) { writing[h] = 1 }

/* heard: its answer arrives */
inline on_grant(l, h, b, heard)
{
	if
	:: b < released[AT(M(l), h)] -> if :: heard -> hears_none(l, h, released[AT(M(l), h)], 0) :: else fi
	:: b >= released[AT(M(l), h)] && g_move[h] != 0 && g_move[h] != M(l) + 1 ->
		if
		:: g_phase[h] != EG_GO && M(l) < g_move[h] - 1 ->
			if :: heard -> hears_busy(g_lead[h], M(l)) :: else fi /* YIELD */
		:: else -> if :: heard -> hears_busy(l, g_move[h] - 1) :: else fi
		fi
	:: b >= released[AT(M(l), h)] && g_move[h] == M(l) + 1 ->
		if
		:: COUNTS(h, l, b) && g_phase[h] == EG_GRANTED && !writing[h] && heard && b == g_ballot[h] &&
		   (BEFORE_GO(l) || phase[l] == EL_GOING) && ballot[l] == b ->
			granted[AT(l, h)] = 1;
			if :: phase[l] == EL_GOING -> m_go[AT(l, h)] = ballot[l] :: else fi
		:: COUNTS(h, l, b) && g_phase[h] == EG_GO && !writing[h] && heard -> hears_held(l, h, g_ballot[h], 1)
		:: else
		fi
	:: else ->
		if
		:: guest[AT(M(l), h)] == 0 ->
			g_move[h] = M(l) + 1; g_phase[h] = EG_WRITING; g_ballot[h] = b; g_lead[h] = l; asked[h] = 0; write_down(h)
		:: else -> if :: heard -> hears_none(l, h, b, 1) :: else fi
		fi
	fi
}

inline forget(h)
{
	g_move[h] = 0; g_phase[h] = 0; g_ballot[h] = 0; g_lead[h] = 0; writing[h] = 0; trusts[h] = 0; asked[h] = 0;
	d_move[h] = 0; d_phase[h] = 0; d_ballot[h] = 0; d_lead[h] = 0
}

inline on_release(l, h, b, heard)
{
	if
	:: g_move[h] == M(l) + 1 && !COUNTS(h, l, b)
	:: g_move[h] == M(l) + 1 && COUNTS(h, l, b) && g_phase[h] == EG_GO ->
		if :: heard -> hears_held(l, h, g_ballot[h], 1) :: else fi
	:: else ->
		if :: g_move[h] == M(l) + 1 -> forget(h) :: else fi;
		if :: b > released[AT(M(l), h)] -> released[AT(M(l), h)] = b :: else fi;
		if :: heard -> hears_none(l, h, b, 0) :: else fi
	fi
}

inline on_take(l, h, b, heard)
{
	if
	:: last[AT(M(l), h)] -> if :: heard -> hears_held(l, h, b, 1) :: else fi
	:: !last[AT(M(l), h)] && g_move[h] != M(l) + 1 -> if :: heard -> hears_none(l, h, b, 0) :: else fi
	:: !last[AT(M(l), h)] && g_move[h] == M(l) + 1 ->
		if
		:: COUNTS(h, l, b) && g_phase[h] != EG_WRITING && !writing[h] && b == g_ballot[h] ->
			if :: heard -> hears_held(l, h, b, (g_phase[h] == EG_GO)) :: else fi
		:: COUNTS(h, l, b) && g_phase[h] != EG_WRITING && !writing[h] && b != g_ballot[h] ->
			g_ballot[h] = b; g_lead[h] = l; asked[h] = 1; write_down(h)
		:: else
		fi
	fi
}

inline on_go(l, h, b, heard)
{
	if
	:: last[AT(M(l), h)] -> if :: heard -> hears_held(l, h, b, 1) :: else fi
	:: !last[AT(M(l), h)] && g_move[h] != M(l) + 1 ->
		if :: heard -> hears_none(l, h, b, (guest[AT(M(l), h)] == 1)) :: else fi
	:: !last[AT(M(l), h)] && g_move[h] == M(l) + 1 ->
		if
		:: COUNTS(h, l, b) && g_phase[h] != EG_WRITING && !writing[h] && g_phase[h] == EG_GO && g_ballot[h] == b ->
			if :: heard -> hears_held(l, h, b, 1) :: else fi
		:: COUNTS(h, l, b) && g_phase[h] != EG_WRITING && !writing[h] && !(g_phase[h] == EG_GO && g_ballot[h] == b) ->
			g_ballot[h] = b; g_lead[h] = l; g_phase[h] = EG_GO; asked[h] = 1; write_down(h)
		:: else
		fi
	fi
}

/* the record is on the disk: said */
inline written(h, heard)
{
	writing[h] = 0;
	if :: g_phase[h] == EG_WRITING -> g_phase[h] = EG_GRANTED :: else fi;
	d_move[h] = g_move[h]; d_phase[h] = g_phase[h]; d_ballot[h] = g_ballot[h]; d_lead[h] = g_lead[h];
	if
	:: heard && g_phase[h] == EG_GRANTED && !asked[h] && ballot[g_lead[h]] == g_ballot[h] &&
	   (BEFORE_GO(g_lead[h]) || phase[g_lead[h]] == EL_GOING) ->
		granted[AT(g_lead[h], h)] = 1;
		if :: phase[g_lead[h]] == EL_GOING -> m_go[AT(g_lead[h], h)] = ballot[g_lead[h]] :: else fi
	:: heard && (g_phase[h] == EG_GO || asked[h]) -> hears_held(g_lead[h], h, g_ballot[h], (g_phase[h] == EG_GO))
	:: else
	fi;
	asked[h] = 0
}

inline host_dies(h)
{
	hosts++;
	g_move[h] = d_move[h]; g_phase[h] = d_phase[h]; g_ballot[h] = d_ballot[h]; g_lead[h] = d_lead[h];
	writing[h] = 0; trusts[h] = 0; asked[h] = 0
}

inline done(h)
{
	last[AT(g_move[h] - 1, h)] = 1;
	if :: !OVER(g_lead[h]) && phase[g_lead[h]] == EL_GOING -> went[AT(g_lead[h], h)] = 1 :: else fi;
	forget(h)
}

/* ---- */

#define SAID(l) (m_grant[AT(l, 0)] || m_grant[AT(l, 1)] || m_release[AT(l, 0)] || m_release[AT(l, 1)] || \
                 m_take[AT(l, 0)] || m_take[AT(l, 1)] || m_go[AT(l, 0)] || m_go[AT(l, 1)])
#define MAY_LOSE (loss < LOSS)
#define LOSES loss++
#define MAY_SLIP (slips < SLIPS)
#define SLIPPED slips++
#ifdef LIVE
#define IDLE (!SAID(0) && !SAID(1) && !writing[0] && !writing[1] && g_phase[0] != EG_GO && g_phase[1] != EG_GO && !DUE(0) && !DUE(1))
#define DUE(h) (g_phase[h] == EG_GRANTED && !LED(g_move[h] - 1)) /* to tell somebody, or to end */
#define MY_TURN(l) (IDLE && (turn == l || OVER(1 - l)))
#define NEXT(l) turn = 1 - l
#define PATIENT(l) (waited[l] < 2)
#define WAITS(l) waited[l]++
#define OUT_OF_PATIENCE(l) (waited[l] >= 2 && MY_TURN(l))
#else
#define MY_TURN(l) true
#define NEXT(l) skip
#define PATIENT(l) (waited[l] < 1)
#define WAITS(l) waited[l]++
#define OUT_OF_PATIENCE(l) true
#endif

#define HEARD(box, l, h, what) \
	:: d_step { box[AT(l, h)] != 0 -> from = box[AT(l, h)]; box[AT(l, h)] = 0; what(l, h, from, 1); from = 0 } \
	:: d_step { box[AT(l, h)] != 0 && MAY_LOSE -> LOSES; from = box[AT(l, h)]; box[AT(l, h)] = 0; what(l, h, from, 0); from = 0 } \
	:: d_step { box[AT(l, h)] != 0 && MAY_LOSE -> LOSES; box[AT(l, h)] = 0 }

#ifdef BREAK_GO_WITHOUT_ALL_GRANTS
#define GRANTED(l) (granted[AT(l, 0)] || granted[AT(l, 1)])
#else
#define GRANTED(l) (granted[AT(l, 0)] && granted[AT(l, 1)])
#endif
#define HAS(m, h) (lease[AT(m, h)] != 0)
#ifdef BREAK_ROOM_WITHOUT_ALL_LEASES
#define ROOMY(m) (HAS(m, 0) || HAS(m, 1))
#else
#define ROOMY(m) (HAS(m, 0) && HAS(m, 1))
#endif
#ifdef BREAK_LEASES_UNCOUNTED
#define FREE(h) true
#else
#define FREE(h) (USED(h) < CAP)
#endif

#define LEAD(l) \
	/* LOOKING, and what is said again */ \
	:: d_step { phase[l] == EL_LOOKING && MY_TURN(l) -> granted[AT(l, 0)] = 0; granted[AT(l, 1)] = 0; room[l] = 0; \
		NEXT(l); \
		if \
		:: guest[AT(M(l), 0)] == 0 && guest[AT(M(l), 1)] == 0 -> to(l, EL_GRANTING); \
			m_grant[AT(l, 0)] = ballot[l]; m_grant[AT(l, 1)] = ballot[l] \
		:: else -> refused(l) \
		fi } \
	:: d_step { (phase[l] == EL_GRANTING || phase[l] == EL_ASKING) && !GRANTED(l) && !SAID(l) && PATIENT(l) && MY_TURN(l) -> \
		WAITS(l); NEXT(l); m_grant[AT(l, 0)] = ballot[l]; m_grant[AT(l, 1)] = ballot[l] } \
	:: d_step { phase[l] == EL_GIVING_BACK && !SAID(l) && PATIENT(l) && MY_TURN(l) && !(answered[AT(l, 0)] && answered[AT(l, 1)]) -> \
		WAITS(l); NEXT(l); m_release[AT(l, 0)] = ballot[l]; m_release[AT(l, 1)] = ballot[l] } \
	:: d_step { phase[l] == EL_TAKING_OVER && !SAID(l) && PATIENT(l) && MY_TURN(l) && !(answered[AT(l, 0)] && answered[AT(l, 1)]) -> \
		WAITS(l); NEXT(l); m_take[AT(l, 0)] = ballot[l]; m_take[AT(l, 1)] = ballot[l] } \
	:: d_step { phase[l] == EL_GOING && !SAID(l) && MY_TURN(l) && !(went[AT(l, 0)] && went[AT(l, 1)]) && \
	            !(guest[AT(M(l), 0)] && guest[AT(M(l), 1)]) -> \
		NEXT(l); m_go[AT(l, 0)] = ballot[l]; m_go[AT(l, 1)] = ballot[l] } \
	/* all granted: asks for room, which is leased guest by guest */ \
	:: d_step { phase[l] == EL_GRANTING && GRANTED(l) -> to(l, EL_ASKING) } \
	:: d_step { phase[l] == EL_ASKING && !HAS(M(l), 0) && FREE(0) -> lease[AT(M(l), 0)] = EE_LEASED } \
	:: d_step { phase[l] == EL_ASKING && !HAS(M(l), 1) && FREE(1) -> lease[AT(M(l), 1)] = EE_LEASED } \
	:: d_step { phase[l] == EL_ASKING && !room[l] && ROOMY(M(l)) -> room[l] = 1 } \
	:: atomic { phase[l] == EL_ASKING && room[l] && GRANTED(l) -> \
		assert(DEPOSED(l) || go_said[M(l)] || ( \
		       g_move[0] == M(l) + 1 && g_move[1] == M(l) + 1 && HAS(M(l), 0) && HAS(M(l), 1))); \
		d_step { go_said[M(l)] = 1; say_go(l) } } \
	/* refused, or a timer */ \
	NO_ROOM(l) \
	PATIENCE(l) \
	:: d_step { phase[l] == EL_GIVING_BACK && ((answered[AT(l, 0)] && answered[AT(l, 1)]) || OUT_OF_PATIENCE(l)) -> \
		if :: again[l] -> to(l, EL_BACKING_OFF) :: else -> refused(l) fi } \
	:: d_step { phase[l] == EL_BACKING_OFF && MY_TURN(l) -> hush(l); NEXT(l); to(l, EL_LOOKING) } \
	:: d_step { phase[l] == EL_TAKING_OVER && ((answered[AT(l, 0)] && answered[AT(l, 1)]) || OUT_OF_PATIENCE(l)) -> \
		if :: any[l] -> say_go(l) :: else -> attempts[l] = ATTEMPTS; give_back(l, 0) fi } \
	:: d_step { phase[l] == EL_GOING && guest[AT(M(l), 0)] != 0 && guest[AT(M(l), 1)] != 0 -> to(l, EL_MOVED); hush(l) } \
	/* trust runs out */ \
	:: d_step { granted[AT(l, 0)] && MAY_SLIP -> SLIPPED; granted[AT(l, 0)] = 0 } \
	:: d_step { granted[AT(l, 1)] && MAY_SLIP -> SLIPPED; granted[AT(l, 1)] = 0 } \
	:: d_step { room[l] && MAY_SLIP -> SLIPPED; room[l] = 0 } \
	/* its representative dies; its hosts turn to one that knows nothing */ \
	:: d_step { !OVER(l) && deaths < DEATHS -> deaths++; refused(l); phase[l] = 0; any[l] = 0; attempts[l] = 0; again[l] = 0; \
		answered[AT(l, 0)] = 0; answered[AT(l, 1)] = 0; went[AT(l, 0)] = 0; went[AT(l, 1)] = 0 }

#ifdef BREAK_HOLD_AND_WAIT
#define NO_ROOM(l)
#define PATIENCE(l)
#undef PATIENT
#define PATIENT(l) true
#undef WAITS
#define WAITS(l) skip
#else
#define NO_ROOM(l) \
	:: d_step { phase[l] == EL_ASKING && ((!HAS(M(l), 0) && !FREE(0)) || (!HAS(M(l), 1) && !FREE(1))) -> give_back(l, 0) }
#define PATIENCE(l) \
	:: d_step { BEFORE_GO(l) && !(GRANTED(l) && ROOMY(M(l))) && OUT_OF_PATIENCE(l) -> again_or_refused(l) }
#endif

#define NOBODY_TRUSTS(m, h) (!(phase[m] == EL_ASKING || room[m]) && !(LEADS > MOVES && (phase[1] == EL_ASKING || room[1])) && \
                             !(g_move[h] == m + 1 && trusts[h]))
#define LEAD_TRUSTS(h) (g_phase[h] == EG_GRANTED && (granted[AT(0, h)] && M(0) + 1 == g_move[h] || granted[AT(1, h)] && M(1) + 1 == g_move[h]))
/* Is anybody at work for the move? Then its hosts hear of it again and again. */
#define LED(m) (!OVER(m) || (LEADS > MOVES && !OVER(1)))

/* Nobody leads, and whoever represents now has been told, or knows that it is over. */
#define UNHEARD(h) (!LED(g_move[h] - 1) && !TELL_NOW(h, NOW(h)))

#define HOST(h) \
	:: d_step { writing[h] -> written(h, 1) } \
	:: d_step { writing[h] && MAY_LOSE -> LOSES; written(h, 0) } \
	:: d_step { hosts < HOSTS && (writing[h] || g_move[h] != 0) -> host_dies(h) } \
	/* a grant's term; whose lead is silent tells who represents now */ \
	:: d_step { g_phase[h] == EG_GRANTED && !writing[h] && !LEAD_TRUSTS(h) && (MAY_SLIP || UNHEARD(h)) -> \
		if :: UNHEARD(h) :: else -> SLIPPED fi; forget(h) } \
	TELLS(h) \
	/* GO is on the disk: keeps its lease, hands over */ \
	:: d_step { g_phase[h] == EG_GO && !writing[h] && guest[AT(g_move[h] - 1, h)] == 0 && !trusts[h] && \
	            lease[AT(g_move[h] - 1, h)] == EE_LEASED -> trusts[h] = 1 } \
	:: d_step { trusts[h] && MAY_SLIP -> SLIPPED; trusts[h] = 0 } \
	:: atomic { MAY_MOVE(h) -> assert(lease[AT(g_move[h] - 1, h)] == EE_LEASED && d_phase[h] == EG_GO && go_said[g_move[h] - 1]); \
		d_step { guest[AT(g_move[h] - 1, h)] = 1; lease[AT(g_move[h] - 1, h)] = HERE; done(h) } } \
	/* its lease is lost: another place, or it is left and shown */ \
	:: d_step { g_phase[h] == EG_GO && !writing[h] && lease[AT(g_move[h] - 1, h)] == 0 && FREE(h) && MAY_SLIP -> \
		SLIPPED; lease[AT(g_move[h] - 1, h)] = EE_LEASED } \
	:: d_step { g_phase[h] == EG_GO && !writing[h] && lease[AT(g_move[h] - 1, h)] == 0 -> \
		guest[AT(g_move[h] - 1, h)] = 2; done(h) }

#ifdef BREAK_MOVES_BEFORE_WRITTEN
#define MAY_MOVE(h) (g_phase[h] == EG_GO && lease[AT(g_move[h] - 1, h)] == EE_LEASED)
#else
#ifdef BREAK_MOVES_WITHOUT_LEASE
#define MAY_MOVE(h) (g_phase[h] == EG_GO && !writing[h])
#else
#define MAY_MOVE(h) (g_phase[h] == EG_GO && !writing[h] && trusts[h])
#endif
#endif

#ifdef BREAK_NOBODY_TAKES_OVER
#define TELLS(h)
#else
#define TELLS(h) \
	:: d_step { g_move[h] != 0 && !writing[h] && g_phase[h] != EG_WRITING && TELL_NOW(h, NOW(h)) -> \
		from = NOW(h); hears_held(from, h, g_ballot[h], (g_phase[h] == EG_GO)); from = 0 }
#endif
/* who represents now: the other one, if there are two */
#define NOW(h) (LEADS > MOVES -> 1 : g_move[h] - 1)
#ifdef BREAK_NOBODY_TAKES_OVER
#define TELL_NOW(h, l) false
#else
#define TELL_NOW(h, l) (OVER(l) && ballot[l] < BALLOTS - 1 && g_ballot[h] < BALLOTS - 1)
#endif

/* A lease that nobody trusts ends by its term; so does one of a guest that is left. */
#define LEASE(m, h) \
	:: d_step { lease[AT(m, h)] == EE_LEASED && NOBODY_TRUSTS(m, h) && (MAY_SLIP || !LED(m)) -> \
		if :: LED(m) -> SLIPPED :: else fi; lease[AT(m, h)] = 0 }
#ifdef BREAK_LEASE_ENDS_EARLY
#undef NOBODY_TRUSTS
#define NOBODY_TRUSTS(m, h) true
#endif

byte from;

active proctype world()
{
	d_step {
		phase[0] = EL_LOOKING; ballot[0] = 1;
		if :: MOVES > 1 -> phase[1] = EL_LOOKING; ballot[1] = 1 :: else fi
	};
end:	do
	HEARD(m_grant, 0, 0, on_grant) HEARD(m_grant, 0, 1, on_grant) HEARD(m_grant, 1, 0, on_grant) HEARD(m_grant, 1, 1, on_grant)
	HEARD(m_release, 0, 0, on_release) HEARD(m_release, 0, 1, on_release)
	HEARD(m_release, 1, 0, on_release) HEARD(m_release, 1, 1, on_release)
	HEARD(m_take, 0, 0, on_take) HEARD(m_take, 0, 1, on_take) HEARD(m_take, 1, 0, on_take) HEARD(m_take, 1, 1, on_take)
	HEARD(m_go, 0, 0, on_go) HEARD(m_go, 0, 1, on_go) HEARD(m_go, 1, 0, on_go) HEARD(m_go, 1, 1, on_go)
	LEAD(0) LEAD(1)
	HOST(0) HOST(1)
	LEASE(0, 0) LEASE(0, 1)
#if MOVES > 1
	LEASE(1, 0) LEASE(1, 1)
#endif
	od
}

#define KEPT (g_move[0] || g_move[1] || lease[0] == EE_LEASED || lease[1] == EE_LEASED || \
              (MOVES > 1 && (lease[2] == EE_LEASED || lease[3] == EE_LEASED)))
#define ALL_OVER (OVER(0) && OVER(1) && !KEPT && !SAID(0) && !SAID(1))
#define WHOLE(m) ((guest[AT(m, 0)] != 0) == (guest[AT(m, 1)] != 0))
#define WITHIN (USED(0) <= CAP && USED(1) <= CAP)
#define ALL_OR_NONE (!ALL_OVER || LEADS > MOVES || (WHOLE(0) && WHOLE(1)))

#ifdef LIVE
ltl ends { [] <> (ALL_OVER) }
#endif
active proctype never_so()
{
end:	if
	:: atomic { !WITHIN -> assert(WITHIN) }
	:: atomic { !ALL_OR_NONE -> assert(ALL_OR_NONE) }
	fi
}
