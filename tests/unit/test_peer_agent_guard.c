/* The chain that keeps guests from their host's own addresses, in the kernel, in a network namespace of its own. That nothing
 * passes it is shown in net/test_isolation.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/agent_guard.h"
#include "peer/agent_tap.h"

#define BRIDGE "vi-11223344"

static char why[200];

static int bridge_there(void **state)
{
    (void)state;
    return agent_bridge_open(BRIDGE, 1400, why, sizeof why);
}

static int bridge_gone(void **state)
{
    (void)state;
    return agent_bridge_remove(BRIDGE, why, sizeof why);
}

static void stands_once_set(void **state)
{
    (void)state;
    assert_false(agent_guard_stands(BRIDGE));
    why[0] = '\0';
    for (int i = 0; i < 3; i++) { /* again: in place of the one before */
        assert_int_equal(agent_guard_set(BRIDGE, why, sizeof why), 0);
        assert_true(agent_guard_stands(BRIDGE));
    }
    assert_string_equal(why, "");
    assert_false(agent_guard_stands("vi-55667788"));
    assert_int_equal(system("nft 'add chain netdev " BRIDGE " to-host { policy accept; }'"), 0);
    assert_false(agent_guard_stands(BRIDGE)); /* it is there, and lets all in */
    agent_guard_remove(BRIDGE);
    assert_false(agent_guard_stands(BRIDGE));
    agent_guard_remove(BRIDGE); /* none: nothing */
}

/* A bridge that somebody removed leaves a table without a device behind: the next of its name is guarded all the same. */
static void goes_with_its_bridge(void **state)
{
    (void)state;
    assert_int_equal(agent_guard_set(BRIDGE, why, sizeof why), 0);
    assert_int_equal(bridge_gone(NULL), 0);
    assert_int_equal(if_nametoindex(BRIDGE), 0);
    assert_false(agent_guard_stands(BRIDGE));
    assert_int_equal(bridge_there(NULL), 0);
    assert_int_equal(agent_guard_set(BRIDGE, why, sizeof why), 0);
    assert_int_equal(system("ip link del " BRIDGE), 0);
    assert_int_equal(bridge_there(NULL), 0);
    assert_int_equal(agent_guard_set(BRIDGE, why, sizeof why), 0);
    assert_true(agent_guard_stands(BRIDGE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stands_once_set, bridge_there, bridge_gone),
        cmocka_unit_test_setup_teardown(goes_with_its_bridge, bridge_there, bridge_gone),
    };
    if (geteuid() != 0 || unshare(CLONE_NEWNET)) {
        printf("test_peer_agent_guard needs root: skipped\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
