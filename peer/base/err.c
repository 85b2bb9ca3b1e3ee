/* Phrases for error codes. See err.h. */
#include "peer/base/err.h"

const char *vi_strerror(int err)
{
    switch (err) {
    case VI_OK: return "no error";
    case VI_ENOMEM: return "out of memory";
    case VI_EINVAL: return "out of range";
    case VI_EFULL: return "at its bound";
    case VI_ENOTFOUND: return "no such thing";
    case VI_EEXIST: return "there already";
    case VI_EAUTH: return "not authentic or not allowed";
    case VI_EEXPIRED: return "expired";
    case VI_EREPLAY: return "seen before";
    case VI_EPROTO: return "malformed";
    case VI_EVERSION: return "a version that this program does not speak";
    case VI_EIO: return "input/output error";
    case VI_ETIMEDOUT: return "no answer in time";
    case VI_EREFUSED: return "refused";
    case VI_ECANCELED: return "given up";
    case VI_ESTATE: return "not possible in the present state";
    case VI_EUNSUPPORTED: return "not supported here";
    case VI_EAGAIN: return "not now";
    default: return "unknown error";
    }
}
