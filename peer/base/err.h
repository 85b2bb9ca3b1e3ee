/* Error codes shared by every part of violin.
 *
 * Functions that can fail return 0 or one of these negative codes. They are stable: the control
 * socket and the mesh carry them. */
#ifndef PEER_BASE_ERR_H
#define PEER_BASE_ERR_H

enum vi_err {
    VI_OK = 0,
    VI_ENOMEM = -1,       /* allocation failed; nothing changed */
    VI_EINVAL = -2,       /* an argument or a value is out of its range */
    VI_EFULL = -3,        /* a bounded table, queue or buffer is at its bound */
    VI_ENOTFOUND = -4,    /* no such thing */
    VI_EEXIST = -5,       /* it is there already */
    VI_EAUTH = -6,        /* not authentic, or not allowed */
    VI_EEXPIRED = -7,     /* valid once, not any more (or not yet) */
    VI_EREPLAY = -8,      /* seen before */
    VI_EPROTO = -9,       /* malformed or out of sequence */
    VI_EVERSION = -10,    /* a version that this program does not speak */
    VI_EIO = -11,         /* the operating system said no; errno or the log has more */
    VI_ETIMEDOUT = -12,   /* no answer within the bound */
    VI_EREFUSED = -13,    /* the other side said no */
    VI_ECANCELED = -14,   /* given up on purpose */
    VI_ESTATE = -15,      /* not possible in the present state */
    VI_EUNSUPPORTED = -16, /* can't be done on this host or with this guest */
    VI_EAGAIN = -17       /* not now; the caller may try again */
};

/* A short English phrase for a code, never NULL. Static storage. */
const char *vi_strerror(int err);

#endif
