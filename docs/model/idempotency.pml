/* idempotency.pml: the protocol of the shm store, for spin.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One key in one shard. Children of two generations claim it, run it and end
 * it; purges and an administrator come in between; any of them may be killed
 * between any two stores (MAY_DIE). README.md tells what is left out.
 *
 * Sizes, by -D: OLD and NEW children of the generation before and after the
 * restart, REQS requests each, PURGES, FORGETS, DEATHS, SIGNALS, TICKS of
 * the clock, RERUN (IdempotencyOutcomeUnknown rerun), NU units, FINE (what
 * runs without the lock may run between any two stores under it).
 * Guards that can be taken out, to see that the model notices: BREAK_*.
 */
#ifndef OLD
#define OLD 1
#endif
#ifndef NEW
#define NEW 1
#endif
#ifndef REQS
#define REQS 1
#endif
#ifndef PURGES
#define PURGES 2
#endif
#ifndef FORGETS
#define FORGETS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef SIGNALS
#define SIGNALS 1
#endif
#ifndef TICKS
#define TICKS 1
#endif
#ifndef RERUN
#define RERUN 0
#endif
#ifndef NU
#define NU 4
#endif
#ifdef FINE
#define SECTION
#else
#define SECTION atomic
#endif

#define NONE 15

/* The numbers of the processes: children first. */
#define CHILDREN (OLD + NEW)
#define PURGER (CHILDREN + 1)
#define ADMIN (CHILDREN + PURGES + 1)
#define LAST 14
#define BIT(k) (1 << (k))
#define ALL_CHILDREN (BIT(CHILDREN + 1) - 2)

/* States of a head, idem_shm.h. */
#define FREE 0
#define EXECUTING 1
#define DONE 2
#define NOT_RETAINED 3
#define UNKNOWN 4
#define DETACHED 5
#define STATES 6
#define FORGED 15     /* fence of no claim: bytes that look like a record */
#define IS_SETTLED(s) ((s) == DONE || (s) == NOT_RETAINED || (s) == UNKNOWN)

/* Bytes of the map. */
#define MAP_FREE 0
#define MAP_HEAD 1
#define MAP_EXTENT 2

/* The shard: idem_shm_shard_t, bucket of the key, map. */
byte lock;            /* who holds the mutex; a robust one: see died */
byte dirty;
byte fence;
byte free_units = NU;
byte count[STATES];
byte bucket;          /* unit + 1, or 0 */
byte map[NU];

/* The units: a head, or two words of an answer. */
byte state[NU];
byte fenced[NU];
byte ident[NU];       /* right if it is equal to the fence */
byte expires[NU];
byte extents[NU];     /* 0 or 1 extent of one unit */
byte ext[NU];
int is[NU];           /* the union: owner, or checksum of at least 4096 */
byte word0[NU];
byte word1[NU];

/* idem_shm_sum_init() and the rest: a checksum that is never equal by
 * chance. */
#define SUM(f, s, l, x, a, b) \
    ((((((1 * 16 + (f)) * 8 + (s)) * 2 + (l)) * 4 + (x)) * 16 + (a)) * 16 \
     + (b))

/* The owner table, idem_shm_owner.c: less rows than processes, so that rows
 * are used again. */
#define ROWS 2
#define ROW_FREE 0
#ifdef BREAK_TAKEN
#define ROW_TAKEN(k) 1
#define IS_TAKEN_BY(w, k, p) ((w) == 1 && (p) == (k))
#else
#define ROW_TAKEN(k) (16 + (k))
#define IS_TAKEN_BY(w, k, p) ((w) == 16 + (k))
#endif
#define ROW_ALIVE(k) (32 + (k))
byte row_alive[ROWS];
byte row_pid[ROWS];
byte row_id[ROWS];
#define OWNER_ID(k, r) ((k) * 2 + (r))

/* idem_shm_owner_is_alive() */
#ifdef BREAK_ALIVE
#define IS_ALIVE(id) (false)
#else
#define IS_ALIVE(id) ((id) < 64 && row_alive[(id) & 1] >= 32 \
                      && row_id[(id) & 1] == (id))
#endif

/* Time: a record lives one tick. */
byte now;
#define TTL 1

/* What is left of the bounds. */
byte deaths = DEATHS;
byte signals = SIGNALS;
byte running;         /* processes that have not ended */
bool parent_ended;

short dead;           /* bit per process: killed or ended */
short gone;           /* reaped by the parent: kill() says ESRCH */

/* Ghosts: they see everything and change nothing. */
byte ghost_claims;    /* since the last release, forgetting or expiry */
byte ghost_done;      /* fence of the answer that is in force, or 0 */
byte ghost_owner;     /* process whose claim stands, or 0 */
byte ghost_who[16];   /* fence -> process */

/* Why a state changes: for the ghosts. */
#define BY_CLAIM 0
#define BY_OWNER 1
#define BY_FORGET 2
#define BY_TIME 3
#define BY_DEATH 4

#define MAY_DIE \
    if \
    :: deaths > 0 -> deaths--; goto died \
    :: true \
    fi

/* What must hold when the state of the key's record changes. */
inline ghost(u, to, why)
{
    if
    :: to == EXECUTING ->
        /* At most one execution between two releases, forgettings or
         * expiries; and none while the answer stands or the last owner
         * lives. */
        assert(ghost_claims == 0);
        assert(ghost_done == 0);
        assert(ghost_owner == 0);
        ghost_claims = 1;
        ghost_owner = me;
        ghost_who[fenced[u]] = me
    :: to == DONE || to == NOT_RETAINED ->
        /* Only the owner of the claim that stands, and nothing is
         * replaced. */
        assert(state[u] == EXECUTING);
        assert(ghost_owner == me && ghost_who[fenced[u]] == me);
        assert(ghost_done == 0);
        ghost_done = fenced[u];
        ghost_owner = 0
    :: to == UNKNOWN ->
        assert(state[u] == EXECUTING);
        assert(ghost_who[fenced[u]] == ghost_owner);
        assert((why == BY_OWNER && ghost_owner == me)
               || (why == BY_DEATH && (dead & BIT(ghost_owner))));
        ghost_owner = 0
    :: to == DETACHED ->
        assert(state[u] == EXECUTING && why == BY_FORGET);
        ghost_claims = 0;
        ghost_owner = 0
    :: to == FREE && state[u] == DETACHED ->
        /* Nobody may be writing its extents any more. */
        assert((why == BY_OWNER && ghost_who[fenced[u]] == me)
               || (dead & BIT(ghost_who[fenced[u]])))
    :: to == FREE && state[u] == EXECUTING ->
        assert((why == BY_OWNER && ghost_owner == me)
               || (why == BY_FORGET && (dead & BIT(ghost_owner))));
        ghost_claims = 0;
        ghost_owner = 0
    :: to == FREE && IS_SETTLED(state[u]) ->
        /* A committed record goes by time or administrator alone. */
        assert(why == BY_FORGET
               || (why == BY_TIME && expires[u] <= now)
               || (why == BY_CLAIM && RERUN && state[u] == UNKNOWN));
        ghost_claims = 0;
        ghost_done = 0
    :: to == FREE && state[u] == FREE
    fi
}

/* idem_shm_part_set_state_locked(): the state, then the counters. */
inline set_state(u, to, why)
{
    d_step {
        ghost(u, to, why);
        was = state[u];
        state[u] = to
    };
    MAY_DIE;
    d_step {
        if
        :: was != FREE -> count[was]--
        :: else
        fi;
        if
        :: to != FREE -> count[to]++
        :: else
        fi;
        was = 0
    };
    MAY_DIE
}

/* Not in C: what a free unit holds is made the same, for fewer states. All
 * but the state stays out of use until the unit is taken again. */
hidden byte wiped;

inline wipe(u)
{
    word0[u] = 0;
    word1[u] = 0;
    ghost_who[fenced[u]] = 0;
    fenced[u] = (state[u] == DONE -> FORGED : 0);
    ident[u] = (state[u] == DONE -> FORGED : 0);
    expires[u] = (state[u] == DONE -> 3 : 0);
    is[u] = (state[u] == DONE -> SUM(FORGED, DONE, 0, 3, 0, 0) : 0);
    extents[u] = 0;
    ext[u] = 0
}

/* idem_shm_part_drop_body_locked() */
inline drop_body(u)
{
    if
    :: extents[u] > 0 && map[ext[u]] == MAP_EXTENT ->
        d_step {
            map[ext[u]] = MAP_FREE;
            wiped = ext[u];
            wipe(wiped)
        };
        MAY_DIE;
        free_units++;
        MAY_DIE
    :: else
    fi;
    extents[u] = 0
}

/* idem_shm_part_unlink_locked(): there is one key, so no chain. */
inline unlink(u)
{
    d_step {
        if
        :: bucket == u + 1 -> bucket = 0
        :: else
        fi
    }
}

/* idem_shm_part_free_locked() */
inline free_record(u, why)
{
    linked = (state[u] != DETACHED);
    set_state(u, FREE, why);
    if
    :: linked -> unlink(u)
    :: else
    fi;
    linked = false;
    MAY_DIE;
    drop_body(u);
    MAY_DIE;
    d_step {
        map[u] = MAP_FREE;
        wipe(u)
    };
    MAY_DIE;
    free_units++
}

/* idem_shm_set_unknown_locked() */
inline set_unknown(u, why)
{
    drop_body(u);
    MAY_DIE;
    expires[u] = at + TTL;
    MAY_DIE;
    is[u] = SUM(fenced[u], UNKNOWN, 0, expires[u], 0, 0);
    MAY_DIE;
    set_state(u, UNKNOWN, why)
}

/* idem_shm_repair.c: keep_heads(). A head that is not whole must be one that
 * no claim had finished or that a release had begun to free. */
inline keep_heads()
{
    j = 0;
    do
    :: j < NU ->
        d_step {
            if
            :: map[j] != MAP_HEAD -> map[j] = MAP_FREE
            :: (map[j] == MAP_HEAD && state[j] != FREE
                && ident[j] == fenced[j]) -> skip
            :: else ->
                assert(state[j] == FREE);
                map[j] = MAP_FREE
            fi;
            j++
        };
        MAY_DIE
    :: else -> break
    od
}

/* take_body() and the rest of keep_record() */
inline keep_record(u)
{
    count[state[u]]++;
    free_units--;
    if
    :: extents[u] == 0 ->
        assert(!IS_SETTLED(state[u])
               || is[u] == SUM(fenced[u], state[u], 0, expires[u], 0, 0))
    :: (extents[u] > 0 && map[ext[u]] == MAP_FREE
        && (!IS_SETTLED(state[u])
            || is[u] == SUM(fenced[u], state[u], 1, expires[u],
                            word0[ext[u]], word1[ext[u]]))) ->
        map[ext[u]] = MAP_EXTENT;
        free_units--
    :: else ->
        /* spoil(): never needed after deaths alone. */
        assert(!IS_SETTLED(state[u]));
        extents[u] = 0
    fi
}

/* keep_records() */
inline keep_records()
{
    j = 0;
    do
    :: j < NU ->
        d_step {
            if
            :: map[j] == MAP_HEAD ->
                keep_record(j);
                if
                :: state[j] != DETACHED ->
                    /* is_latest(): deaths alone make no second record. */
                    assert(bucket == 0);
                    bucket = j + 1
                :: else
                fi
            :: else
            fi;
            j++
        };
        MAY_DIE
    :: else -> break
    od;
    j = 0
}

/* idem_shm_repair_locked(). It can be cut short like anything else. */
inline repair()
{
    d_step {
        bucket = 0;
        free_units = NU;
        count[EXECUTING] = 0;
        count[DONE] = 0;
        count[NOT_RETAINED] = 0;
        count[UNKNOWN] = 0;
        count[DETACHED] = 0
    };
    MAY_DIE;
    keep_heads();
    keep_records();
    d_step {
        fence++;
        do
        :: j < NU ->
            if
            :: map[j] == MAP_FREE -> wipe(j)
            :: else
            fi;
            j++
        :: else -> break
        od;
        j = 0
    };
    MAY_DIE
}

/* idem_shm_enter() */
inline enter()
{
    atomic {
        lock == 0 -> lock = me
    };
    MAY_DIE;
#ifndef BREAK_DIRTY
    if
    :: dirty != 0 -> repair()
    :: else
    fi;
#endif
    dirty = me;
    MAY_DIE
}

/* idem_shm_leave() */
inline leave()
{
    dirty = 0;
    MAY_DIE;
    lock = 0
}

/* idem_shm_part_find_locked(): deaths alone never break the index. */
inline find()
{
    d_step {
        if
        :: bucket == 0 -> u = NONE
        :: else ->
            u = bucket - 1;
            assert(map[u] == MAP_HEAD)
        fi
    }
}

/* idem_shm_claim.c: find_locked() */
inline find_in_force()
{
    find();
    if
    :: u != NONE && state[u] == EXECUTING && !IS_ALIVE(is[u]) ->
        set_unknown(u, BY_DEATH)
    :: u != NONE && state[u] != EXECUTING && expires[u] <= at ->
        free_record(u, BY_TIME);
        u = NONE
    :: else
    fi
}

/* next_pair(), next_free(): the lowest, so that units are used again as
 * soon as can be. */
inline first_free(v)
{
    d_step {
        v = 0;
        do
        :: v < NU && map[v] != MAP_FREE -> v++
        :: else -> break
        od;
        if
        :: v == NU -> v = NONE
        :: else
        fi
    }
}

/* idem_shm_part_take_head_locked() */
inline take_head()
{
    first_free(u);
    if
    :: u != NONE ->
        state[u] = FREE;
        MAY_DIE;
        extents[u] = 0;
        map[u] = MAP_HEAD;
        MAY_DIE;
        free_units--;
        MAY_DIE
    :: else
    fi
}

/* write_head() */
inline write_head()
{
    fence++;
    fenced[u] = fence;
    MAY_DIE;
    d_step {
        expires[u] = at + TTL;
        is[u] = OWNER_ID(me, row);
        extents[u] = 0
    };
    MAY_DIE;
    ident[u] = fenced[u];
    MAY_DIE;
    token = u;
    token_fence = fenced[u];
    set_state(u, EXECUTING, BY_CLAIM)
}

/* idem_shm_purge_locked() */
inline purge_locked()
{
    j = 0;
    do
    :: j < NU ->
        if
        :: (map[j] == MAP_HEAD && state[j] == EXECUTING
            && !IS_ALIVE(is[j])) ->
            set_unknown(j, BY_DEATH)
        :: (map[j] == MAP_HEAD && state[j] == DETACHED
            && !IS_ALIVE(is[j])) ->
            free_record(j, BY_DEATH)
        :: (map[j] == MAP_HEAD && IS_SETTLED(state[j])
            && expires[j] <= at) ->
            free_record(j, BY_TIME)
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

/* new_locked() */
inline new_claim()
{
    take_head();
    if
    :: u == NONE ->
        purge_locked();
        take_head()
    :: else
    fi;
    if
    :: u != NONE ->
        write_head();
        /* idem_shm_part_link_locked() */
        assert(bucket == 0);
        bucket = u + 1;
        MAY_DIE;
        what = EXECUTING
    :: else -> what = FREE /* APR_ENOSPC */
    fi
}

/* An answer in force is whole, and the one that was committed first. */
inline check_answer(u)
{
    assert(ghost_done == fenced[u]);
    assert(extents[u] == 1 && map[ext[u]] == MAP_EXTENT);
    assert(word0[ext[u]] == ghost_done && word1[ext[u]] == ghost_done)
}

/* claim_locked(). what: EXECUTING: new; DONE, NOT_RETAINED: look at found;
 * FREE: the client is told something else. */
inline claim_locked()
{
    find_in_force();
    if
    :: u == NONE -> new_claim()
    :: u != NONE && state[u] == EXECUTING -> what = FREE
    :: u != NONE && (state[u] == DONE || state[u] == NOT_RETAINED) ->
        d_step {
            check_answer(u);
            what = state[u];
            found_fence = fenced[u];
            found_ext = ext[u];
            found_sum = is[u];
            found_expires = expires[u]
        }
    :: u != NONE && state[u] == UNKNOWN && RERUN ->
        /* In place. */
        set_state(u, FREE, BY_CLAIM);
        write_head();
        what = EXECUTING
    :: u != NONE && state[u] == UNKNOWN && !RERUN -> what = FREE
    fi
}

/* idem_shm_claim(), idem_shm_copy_out(): without the lock. A changed record
 * means another try, which is another request here. */
inline copy_out()
{
    copy0 = word0[found_ext];
    copy1 = word1[found_ext];
    if
#ifndef BREAK_COPY
    :: state[u] != what || fenced[u] != found_fence -> skip
    :: else ->
        assert(found_sum == SUM(found_fence, what, 1, found_expires, copy0,
                                copy1));
#else
    :: true ->
#endif
        /* A replay. */
        assert(copy0 == found_fence && copy1 == found_fence)
    fi;
    d_step {
        copy0 = 0;
        copy1 = 0;
        found_fence = 0;
        found_ext = 0;
        found_sum = 0;
        found_expires = 0
    }
}

/* idem_shm_commit.c: own_locked(). Sets mine. */
inline own()
{
    mine = false;
    if
#ifdef BREAK_FENCE
    :: map[token] != MAP_HEAD -> skip
#else
    :: (map[token] != MAP_HEAD || fenced[token] != token_fence
        || is[token] != OWNER_ID(me, row)) -> skip
#endif
    :: else ->
        if
        :: state[token] == DETACHED -> free_record(token, BY_OWNER)
        :: state[token] == EXECUTING -> mine = true
        :: else
        fi
    fi
}

/* reserve(), idem_shm_part_reserve_locked(), take_run() */
inline reserve()
{
    SECTION {
        enter();
        own();
        if
        :: mine ->
            drop_body(token);
            MAY_DIE;
            first_free(e);
            if
            :: e != NONE ->
                map[e] = MAP_EXTENT;
                MAY_DIE;
                free_units--;
                MAY_DIE;
                ext[token] = e;
                MAY_DIE;
                extents[token] = 1;
                MAY_DIE
            :: else
            fi
        :: else -> e = NONE
        fi;
        leave()
    }
}

/* fill(), sum_of(): without the lock. The answer's bytes may look like a
 * record that is in force. */
inline fill(how)
{
    atomic {
        word0[e] = token_fence;
        MAY_DIE
    };
    atomic {
        word1[e] = token_fence;
        state[e] = DONE;
        fenced[e] = FORGED;
        ident[e] = FORGED;
        expires[e] = 3;
        is[e] = SUM(FORGED, DONE, 0, 3, 0, 0);
        MAY_DIE
    };
    sum = SUM(token_fence, how, 1, at + TTL, word0[e], word1[e])
}

/* publish() */
inline publish(how)
{
    SECTION {
        enter();
        own();
        if
        :: mine && extents[token] == 1 && ext[token] == e ->
            expires[token] = at + TTL;
            MAY_DIE;
            is[token] = sum;
            MAY_DIE;
            set_state(token, how, BY_OWNER)
        :: else ->
            /* Repair never takes the reservation of a living claim. */
            assert(!mine)
        fi;
        leave()
    }
}

/* commit_unknown(): idem_shm_commit(IDEM_END_UNKNOWN), idem_shm_abandon() */
inline commit_unknown()
{
    SECTION {
        enter();
        own();
        if
        :: mine -> set_unknown(token, BY_OWNER)
        :: else
        fi;
        leave()
    }
}

/* idem_shm_release() */
inline release()
{
    SECTION {
        enter();
        own();
        if
        :: mine -> free_record(token, BY_OWNER)
        :: else
        fi;
        leave()
    }
}

/* A signal ends a child under prefork: its pools' cleanups call abandon, but
 * not inside the store (idem_shm_is_inside()). */
#define MAY_BE_SIGNALLED \
    if \
    :: signals > 0 -> signals--; goto signalled \
    :: true \
    fi

/* idem_shm_commit(), and what idem_capture.c does without room. */
inline commit(how)
{
    reserve();
    MAY_BE_SIGNALLED;
    if
    :: e != NONE ->
        fill(how);
        MAY_BE_SIGNALLED;
        publish(how)
    :: e == NONE && mine ->
        /* settle_not_retained(): no room either; then unknown. */
        commit_unknown()
    :: else
    fi;
    sum = 0;
    e = 0
}

/* idem_shm_owner_enter(), enter_row() */
inline owner_enter()
{
    do
    :: atomic {
        row < ROWS ->
        if
        :: row_alive[row] == ROW_FREE ->
            row_alive[row] = ROW_TAKEN(me);
            break
        :: else -> row++
        fi
       }
    :: row == ROWS -> goto ended /* refuses keyed requests */
    od;
    atomic {
        MAY_DIE;
        row_pid[row] = me;
        MAY_DIE
    };
    atomic {
        row_id[row] = OWNER_ID(me, row);
        MAY_DIE
    };
    row_alive[row] = ROW_ALIVE(me)
}

/* A process is no more; the kernel gives the mutex on, robust or fcntl. */
inline end_of_process()
{
    atomic {
        if
        :: lock == me -> lock = 0
        :: else
        fi;
        dead = dead | BIT(me);
        running--
    }
}

/* mod_idempotency.c: claim_and_act(), then idem_capture.c: settle(). */
proctype child(byte me)
{
    byte row, at, u, e, j, was, what, token, token_fence, reqs;
    byte copy0, copy1, found_fence, found_ext, found_expires;
    int sum, found_sum;
    bool mine, linked;

    owner_enter();
    do
    :: reqs == REQS -> break
    :: reqs < REQS ->
        reqs++;
        at = now;
        SECTION {
            enter();
            claim_locked();
            leave()
        };
        if
        :: what == EXECUTING ->
            u = 0;
            /* The handler runs here. */
            MAY_DIE;
            at = now;
            if
            :: commit(DONE)
#ifdef WITH_NOT_RETAINED
            :: commit(NOT_RETAINED)
#endif
            :: release()
            :: commit_unknown()
            :: skip /* no lock in time: IDEM0018, the owner's end settles */
            fi;
            MAY_BE_SIGNALLED
        :: what == DONE || what == NOT_RETAINED -> copy_out()
        :: else
        fi;
        d_step {
            u = 0;
            what = 0;
            token = 0;
            token_fence = 0;
            mine = false
        }
    od;
    goto ended;
signalled:
    /* abandon_at_end(): the token may be spent already. */
    at = now;
    commit_unknown();
ended:
died:
    atomic {
        row = 0; at = 0; u = 0; e = 0; j = 0; was = 0; what = 0; token = 0;
        token_fence = 0; reqs = 0; copy0 = 0; copy1 = 0; found_fence = 0;
        found_ext = 0; found_expires = 0; sum = 0; found_sum = 0;
        mine = false; linked = false;
        end_of_process()
    }
}

/* purge_step(), shm_purge(), idem_shm_owner_check(): the watchdog's thread
 * of some child; after a graceful restart two run at the same time. */
proctype purger(byte me)
{
    byte at, j, was, w;
    bool linked;

    do
    :: atomic {
        j < ROWS && w == 0 ->
        w = row_alive[j];
        if
        :: w < ROW_ALIVE(0) || !(gone & BIT(row_pid[j])) ->
            w = 0;
            j++
        :: else
        fi
       }
    :: atomic {
        w != 0 ->
        /* The word is this life's alone: compare and exchange. */
        if
        :: row_alive[j] == w -> row_alive[j] = ROW_FREE
        :: else
        fi;
        w = 0;
        j++
       }
    :: j == ROWS && w == 0 -> break
    od;
    at = now;
    SECTION {
        enter();
        purge_locked();
        leave()
    };
died:
    atomic {
        at = 0; j = 0; was = 0; w = 0; linked = false;
        end_of_process()
    }
}

/* shm_forget() */
proctype admin(byte me)
{
    byte u, was;
    byte j;
    bool linked;

    SECTION {
        enter();
        find();
        if
        :: u == NONE
#ifdef BREAK_FORGET
        :: u != NONE -> free_record(u, BY_FORGET)
#else
        :: u != NONE && state[u] == EXECUTING && IS_ALIVE(is[u]) ->
            set_state(u, DETACHED, BY_FORGET);
            unlink(u)
        :: u != NONE && !(state[u] == EXECUTING && IS_ALIVE(is[u])) ->
            free_record(u, BY_FORGET)
#endif
        fi;
        leave()
    };
died:
    atomic {
        u = 0; j = 0; was = 0; linked = false;
        end_of_process()
    }
}

/* idem_server_child_status(), idem_shm_owner_died(): row after row, in the
 * parent. */
inline owner_died(k)
{
    do
    :: atomic {
        j < ROWS && w == 0 ->
        w = row_alive[j];
        if
        :: ((w >= 32 && row_pid[j] == k)
            || IS_TAKEN_BY(w, k, row_pid[j])) -> skip
        :: else ->
            w = 0;
            j++
        fi
       }
    :: atomic {
        w != 0 ->
#ifdef BREAK_DIED
        row_alive[j] = ROW_FREE;
#else
        if
        :: row_alive[j] == w -> row_alive[j] = ROW_FREE
        :: else
        fi;
#endif
        w = 0;
        j++
       }
    :: atomic {
        j == ROWS && w == 0 ->
        j = 0;
        k = 0;
        break
       }
    od
}

/* The parent of all: reaps, and starts the second generation at any time
 * while the first one still runs. */
proctype parent()
{
    byte k, j, w;
    bool restarted;

    do
    :: atomic {
        !restarted ->
        restarted = true;
        k = OLD + 1;
        do
        :: k <= CHILDREN -> run child(k); k++
        :: else -> break
        od;
        k = 0
       }
    :: atomic {
        (dead & ALL_CHILDREN & ~gone) != 0 ->
        k = 1;
        do
        :: !(dead & BIT(k)) || (gone & BIT(k)) -> k++
        :: else -> break
        od;
        gone = gone | BIT(k)
       };
        owner_died(k)
    :: restarted && gone == ALL_CHILDREN -> break
    od;
    parent_ended = true
}

proctype clock()
{
    do
    :: now < TICKS -> now++
    :: else -> break
    od
}

/* idem_shm_repair_check_locked(), and more: every claim is settled, every
 * unit and counter accounted for. */
inline check_all()
{
    assert(count[EXECUTING] == 0 && count[DETACHED] == 0);
    assert(count[DONE] + count[NOT_RETAINED] + count[UNKNOWN]
           == (bucket != 0));
    assert(free_units + (bucket != 0) + (ghost_done != 0) == NU);
    u = 0;
    do
    :: u < NU ->
        if
        :: map[u] == MAP_HEAD ->
            assert(bucket == u + 1);
            assert(IS_SETTLED(state[u]) && count[state[u]] == 1);
            if
            :: ghost_done != 0 -> check_answer(u)
            :: else -> assert(state[u] == UNKNOWN && extents[u] == 0)
            fi
        :: map[u] == MAP_EXTENT ->
            assert(bucket != 0 && ext[bucket - 1] == u)
        :: map[u] == MAP_FREE
        fi;
        u++
    :: else -> break
    od
}

init {
    byte me, at, j, was, u;
    bool linked;

    atomic {
        running = CHILDREN + PURGES + FORGETS;
        run parent();
        j = 1;
        do
        :: j <= CHILDREN + PURGES + FORGETS ->
            if
            :: j <= OLD -> run child(j)
            :: j > CHILDREN && j < ADMIN -> run purger(j)
            :: j >= ADMIN -> run admin(j)
            :: else
            fi;
            j++
        :: else -> break
        od;
        j = 0;
        run clock()
    };
    atomic {
        running == 0 && parent_ended && now == TICKS ->
        /* All have ended. One purge settles what they left; another one,
         * when the time of all records is over, frees everything. */
        me = LAST;
        deaths = 0;
        at = now;
        enter();
        purge_locked();
        leave();
        check_all();
        now = 3;
        at = now;
        enter();
        purge_locked();
        leave();
        check_all();
        assert(bucket == 0 && free_units == NU);
        assert(ghost_claims == 0 && ghost_done == 0 && ghost_owner == 0)
    };
died:
    skip
}
