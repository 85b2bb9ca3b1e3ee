/* One lease of an environment's move, in time: policy/envmove_lease.c (who gives it), envmove_room.c (asked for it, says
 * for how long it is sure), envmove_lead.c (believes that from when it asked) and envmove_grant.c (the guest's host,
 * renews it after GO, hands over while it trusts it). A grant is the same with fewer steps. envmove.pml takes from here
 * that nothing trusted has ended.
 *
 *   time      goes in steps of 10 s (TICK: tenths); each clock runs at 0.9 or 1.1 of it, in all combinations
 *   network   questions and answers take any time, or are lost; an answer counts from its own question
 *   crashes   of the lease's host, CRASHES times: what was on the disk counts anew
 *
 * Never (process never_so): a room says ROOM, a lead says GO or a host hands over, trusting a lease that has ended; a
 * lease that is longer there than its term by its own clock, counted from when it was last asked for or its host
 * started. Every variant BREAK_... takes one rule away: spin must see it. */

#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef TICK
#define TICK 100
#endif
#define TERM 6000   /* ENVMOVE_TERM in hundredths of a second, as rates are in tenths */
#ifdef BREAK_WHOLE_TERM_TRUSTED
#define TRUSTED 6000
#else
#define TRUSTED 4800 /* ENVMOVE_TRUSTED */
#endif
#define NONE 255

/* so many steps, in hundredths of a second of a clock with that rate */
#define BY(rate, age) ((age) * (rate) * TICK)

/* the phases of a lease: policy/envmove.h */
#define NO_LEASE 0
#define EE_WRITING 96
#define EE_LEASED 97

byte e_phase, e_age, e_rate, crashes;
bool e_up = true, e_disk;
byte r_rate, l_rate, a_rate;

/* Who asks: how old the question is; is it on its way, was it heard, is its answer on its way. */
byte r_asked = NONE, a_asked = NONE, l_asked = NONE;
bool e_answers; /* what is being written down is for the room's present question */
bool r_out, r_back, a_out, a_back, l_out, l_back;
/* How old the question is that was answered last. */
byte r_leased = NONE, a_leased = NONE;
/* What the room says is left, in steps of its own clock's hundredths, and when the lead asked. */
short said; short l_left; byte l_since = NONE;
bool gone;      /* GO was said: the guest's host renews from now on */
bool room_said, go_said, handed; /* in this very step */

#define IN_FORCE (e_phase == EE_LEASED || (!e_up && e_disk))
#define SURE (r_leased != NONE && BY(r_rate, r_leased) <= TRUSTED)
#define L_SURE (l_since != NONE && BY(l_rate, l_since) <= l_left)

inline older(age) { if :: age != NONE -> age++ :: else fi }
inline forget_late(age, rate) { if :: age != NONE && BY(rate, age) > TRUSTED -> age = NONE :: else fi }

active proctype world()
{
	if :: e_rate = 9 :: e_rate = 11 fi;
	if :: r_rate = 9 :: r_rate = 11 fi;
	if :: l_rate = 9 :: l_rate = 11 fi;
	a_rate = r_rate; /* the two never meet */
end:	do
	/* time: what is due at the lease's host comes first */
	:: d_step { !(e_up && e_phase != NO_LEASE && BY(e_rate, e_age) >= TERM) ->
		if :: e_phase != NO_LEASE && e_up -> e_age++ :: else fi;
		older(r_asked); older(a_asked); older(l_asked); older(r_leased); older(a_leased); older(l_since);
		forget_late(r_asked, r_rate); forget_late(a_asked, a_rate); forget_late(l_asked, l_rate);
		forget_late(r_leased, r_rate); forget_late(a_leased, a_rate); forget_late(l_since, l_rate);
		if :: r_asked == NONE -> r_out = 0; r_back = 0 :: else fi;
		if :: a_asked == NONE -> a_out = 0; a_back = 0 :: else fi;
		if :: l_asked == NONE -> l_out = 0; l_back = 0; said = 0 :: else fi }
#ifndef BREAK_TERM_NEVER_ENDS
	:: d_step { e_up && e_phase != NO_LEASE && BY(e_rate, e_age) >= TERM -> e_phase = NO_LEASE; e_disk = 0; e_age = 0 }
#else
	:: d_step { e_up && e_phase != NO_LEASE && BY(e_rate, e_age) >= TERM && BY(e_rate, e_age) < TERM + 2000 -> e_age++ }
#endif

	/* the room asks, again and again; a new question makes the old one void */
	:: d_step { !gone && (r_asked == NONE || !r_out) -> r_asked = 0; r_out = 1; r_back = 0; e_answers = 0 }
	:: d_step { r_out && e_up ->
		r_out = 0;
		if
		:: e_phase == NO_LEASE -> e_phase = EE_WRITING; e_age = 0; e_answers = 1;
#ifdef BREAK_LEASE_UNWRITTEN
			r_back = 1
#endif
		:: e_phase == EE_LEASED -> e_age = 0; r_back = 1
		:: else
		fi }
	:: d_step { r_out -> r_out = 0 }
	:: d_step { e_up && e_phase == EE_WRITING -> e_phase = EE_LEASED; e_disk = 1;
		if :: e_answers && r_asked != NONE -> r_back = 1 :: else fi;
		e_answers = 0 }
	:: d_step { r_back && r_asked != NONE -> r_back = 0;
#ifdef BREAK_TRUST_FROM_ANSWER
		r_leased = 0;
#else
		r_leased = r_asked;
#endif
		r_asked = NONE }
	:: d_step { r_back -> r_back = 0 }

	/* the lead asks the room, which says what is left; the lead counts from its question */
	:: d_step { !gone && (l_asked == NONE || !l_out) -> l_asked = 0; l_out = 1; l_back = 0; said = 0 }
	:: atomic { l_out && SURE -> d_step { l_out = 0; l_back = 1; said = TRUSTED - BY(r_rate, r_leased); room_said = 1 };
		assert(IN_FORCE); room_said = 0 }
	:: d_step { l_out -> l_out = 0 }
	:: d_step { l_back && l_asked != NONE -> l_back = 0; l_left = said; said = 0;
#ifdef BREAK_LEFT_FROM_ANSWER
		l_since = 0;
#else
		l_since = l_asked;
#endif
		l_asked = NONE }
	:: d_step { l_back -> l_back = 0; said = 0 }

	/* GO: all that the lead knows is that its leases are sure; after it nobody but the
	 * guest's host need keep the lease (what the room still asks for can only lengthen it) */
	:: atomic { !gone && L_SURE -> d_step { gone = 1; go_said = 1; l_asked = NONE; l_out = 0; l_back = 0; said = 0 };
		assert(IN_FORCE); d_step { go_said = 0; l_since = NONE; l_left = 0; r_asked = NONE; r_leased = NONE; r_out = 0; r_back = 0; e_answers = 0 } }
	:: d_step { !L_SURE && l_since != NONE -> l_since = NONE; l_left = 0 }
	:: d_step { r_leased != NONE && !SURE -> r_leased = NONE }

	/* the guest's host: renews, then hands over as long as it trusts that */
	:: d_step { gone && (a_asked == NONE || !a_out) -> a_asked = 0; a_out = 1; a_back = 0 }
	:: d_step { a_out && e_up ->
		a_out = 0;
		if :: e_phase == EE_LEASED -> e_age = 0; a_back = 1 :: else fi }
	:: d_step { a_out -> a_out = 0 }
	:: d_step { a_back && a_asked != NONE -> a_back = 0;
#ifdef BREAK_TRUST_FROM_ANSWER
		a_leased = 0;
#else
		a_leased = a_asked;
#endif
		a_asked = NONE }
	:: d_step { a_back -> a_back = 0 }
	:: atomic { gone && a_leased != NONE && BY(a_rate, a_leased) <= TRUSTED -> handed = 1; assert(IN_FORCE); handed = 0 }
	:: d_step { a_leased != NONE && BY(a_rate, a_leased) > TRUSTED -> a_leased = NONE }

	/* the lease's host dies, and comes back at once or later; what it was told meanwhile is lost with its sessions */
	:: d_step { e_up && crashes < CRASHES -> crashes++; e_up = 0; e_phase = NO_LEASE; e_age = 0; e_answers = 0; r_out = 0; a_out = 0 }
	:: d_step { !e_up -> e_up = 1; if :: e_disk -> e_phase = EE_LEASED; e_age = 0 :: else fi }
	od
}

/* With the clock that is slowest against its own: one step more than the term. */
#define NOT_LONGER (e_phase == NO_LEASE || BY(e_rate, e_age) < TERM + BY(11, 1))
active proctype never_so()
{
end:	atomic { !NOT_LONGER -> assert(NOT_LONGER) }
}
