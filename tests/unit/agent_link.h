/* What the supervisor does for an agent that runs in a test: it hands it one end of a link to a peer. */
#ifndef TESTS_AGENT_LINK_H
#define TESTS_AGENT_LINK_H

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/link.h"

/* By the supervisor's end of its own link with the agent. Returns the peer's end of the new one, the caller's. */
static inline int agent_link_handed(int control)
{
    int fds[2];
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } c;
    uint8_t bytes[32];
    struct vi_writer w;
    vi_writer_init(&w, bytes, sizeof bytes);
    link_write_notification(&w, "peer");
    vi_write_nil(&w);
    struct iovec iov = {bytes, w.len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.space};
    assert_int_equal(link_pair(fds), 0);
    memset(&c, 0, sizeof c);
    c.head.cmsg_level = SOL_SOCKET;
    c.head.cmsg_type = SCM_RIGHTS;
    c.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&c.head), &fds[0], sizeof(int));
    assert_true(sendmsg(control, &m, 0) > 0);
    close(fds[0]);
    return fds[1];
}

#endif
