/* See agent_guard.h. The messages are those of linux/netfilter/nf_tables.h, in a batch, which the kernel takes whole or not. */
#include "peer/agent_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "peer/base/err.h"

#define CHAIN    "to-host"
#define PRIORITY (-500) /* before whatever a host's own rules do there */
#define BATCH    1024

struct batch {
    _Alignas(struct nlmsghdr) char data[BATCH];
    size_t len;
    uint32_t seq; /* of the last message */
};

static struct nlmsghdr *add(struct batch *b, uint16_t type, uint8_t family, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(b->data + b->len);
    struct nfgenmsg *g;
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    h->nlmsg_seq = ++b->seq;
    g = mnl_nlmsg_put_extra_header(h, sizeof *g);
    g->nfgen_family = family;
    g->version = NFNETLINK_V0;
    g->res_id = type == NFNL_MSG_BATCH_BEGIN || type == NFNL_MSG_BATCH_END ? htons(NFNL_SUBSYS_NFTABLES) : 0;
    return h;
}

static void added(struct batch *b, const struct nlmsghdr *h)
{
    b->len += NLMSG_ALIGN(h->nlmsg_len);
}

static void add_table(struct batch *b, uint16_t what, const char *bridge)
{
    struct nlmsghdr *h = add(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), NFPROTO_NETDEV,
                             what == NFT_MSG_NEWTABLE ? NLM_F_CREATE : NLM_F_ACK);
    mnl_attr_put_strz(h, NFTA_TABLE_NAME, bridge);
    added(b, h);
}

static void add_chain(struct batch *b, const char *bridge)
{
    struct nlmsghdr *h = add(b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, NFPROTO_NETDEV, NLM_F_CREATE | NLM_F_ACK);
    struct nlattr *hook;
    mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, bridge);
    mnl_attr_put_strz(h, NFTA_CHAIN_NAME, CHAIN);
    hook = mnl_attr_nest_start(h, NFTA_CHAIN_HOOK);
    mnl_attr_put_u32(h, NFTA_HOOK_HOOKNUM, htonl(NF_NETDEV_INGRESS));
    mnl_attr_put_u32(h, NFTA_HOOK_PRIORITY, htonl((uint32_t)PRIORITY));
    mnl_attr_put_strz(h, NFTA_HOOK_DEV, bridge);
    mnl_attr_nest_end(h, hook);
    mnl_attr_put_u32(h, NFTA_CHAIN_POLICY, htonl(NF_DROP));
    mnl_attr_put_strz(h, NFTA_CHAIN_TYPE, "filter");
    added(b, h);
}

/* A chain as the kernel tells of it. */
struct told {
    const char *bridge;
    bool drops, there;
};

static int on_hook(const struct nlattr *a, void *arg)
{
    struct told *t = arg;
    if (mnl_attr_get_type(a) == NFTA_HOOK_DEV && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) >= 0)
        t->there = !strcmp(mnl_attr_get_str(a), t->bridge);
    return MNL_CB_OK;
}

static int on_chain(const struct nlattr *a, void *arg)
{
    struct told *t = arg;
    if (mnl_attr_get_type(a) == NFTA_CHAIN_POLICY && mnl_attr_validate(a, MNL_TYPE_U32) >= 0)
        t->drops = ntohl(mnl_attr_get_u32(a)) == NF_DROP;
    else if (mnl_attr_get_type(a) == NFTA_CHAIN_HOOK)
        (void)mnl_attr_parse_nested(a, on_hook, t);
    return MNL_CB_OK;
}

static bool drops_at(const struct nlmsghdr *h, const char *bridge)
{
    struct told t = {.bridge = bridge};
    (void)mnl_attr_parse(h, sizeof(struct nfgenmsg), on_chain, &t);
    return t.drops && t.there;
}

/* Sends what is in b, and reads until the message seq is answered or any is refused. 0 or an errno. guards: the bridge that a chain
 * asked for should guard, ENOENT if it doesn't. */
static int ask(struct batch *b, uint32_t seq, const char *guards)
{
    struct timeval second = {.tv_sec = 1};
    _Alignas(struct nlmsghdr) char reply[8192];
    int result = -1;
    struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (!s)
        return errno;
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) ||
        mnl_socket_sendto(s, b->data, b->len) < 0)
        result = errno;
    while (result < 0) {
        ssize_t n = mnl_socket_recvfrom(s, reply, sizeof reply);
        int left = (int)n;
        if (n < 0)
            result = errno;
        for (struct nlmsghdr *h = (struct nlmsghdr *)reply; n > 0 && result < 0 && mnl_nlmsg_ok(h, left);
             h = mnl_nlmsg_next(h, &left)) {
            const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
            bool refusal = h->nlmsg_type == NLMSG_ERROR && mnl_nlmsg_get_payload_len(h) >= sizeof *e;
            if (refusal && e->error)
                result = -e->error;
            else if (h->nlmsg_seq == seq)
                result = !guards || refusal || drops_at(h, guards) ? 0 : ENOENT;
        }
    }
    mnl_socket_close(s);
    return result;
}

static void begin(struct batch *b)
{
    memset(b, 0, sizeof *b);
    added(b, add(b, NFNL_MSG_BATCH_BEGIN, AF_UNSPEC, 0));
}

static uint32_t end(struct batch *b)
{
    uint32_t last = b->seq;
    added(b, add(b, NFNL_MSG_BATCH_END, AF_UNSPEC, 0));
    return last;
}

int agent_guard_set(const char *bridge, char *why, size_t why_size)
{
    struct batch b;
    int err;
    begin(&b);
    add_table(&b, NFT_MSG_NEWTABLE, bridge); /* so that there is one to remove */
    add_table(&b, NFT_MSG_DELTABLE, bridge);
    add_table(&b, NFT_MSG_NEWTABLE, bridge);
    add_chain(&b, bridge);
    err = ask(&b, end(&b), NULL);
    if (!err)
        return 0;
    snprintf(why, why_size, "%s: the kernel's nf_tables doesn't keep its guests from this host's own addresses: %s (modprobe nf_tables)",
             bridge, strerror(err));
    return VI_EIO;
}

bool agent_guard_stands(const char *bridge)
{
    struct batch b;
    struct nlmsghdr *h;
    memset(&b, 0, sizeof b);
    h = add(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NFPROTO_NETDEV, 0);
    mnl_attr_put_strz(h, NFTA_CHAIN_TABLE, bridge);
    mnl_attr_put_strz(h, NFTA_CHAIN_NAME, CHAIN);
    added(&b, h);
    return ask(&b, b.seq, bridge) != ENOENT;
}

void agent_guard_remove(const char *bridge)
{
    struct batch b;
    begin(&b);
    add_table(&b, NFT_MSG_NEWTABLE, bridge);
    add_table(&b, NFT_MSG_DELTABLE, bridge);
    (void)ask(&b, end(&b), NULL);
}
