/* Names of the hypervisor interface's enumerations, for messages, JSON and the log. */
#include "xen/hypervisor.h"

const char *hv_state_name(enum hv_guest_state s)
{
    switch (s) {
    case HV_RUNNING:   return "running";
    case HV_PAUSED:    return "paused";
    case HV_SUSPENDED: return "suspended";
    case HV_SHUTDOWN:  return "shutdown";
    }
    return "unknown";
}

const char *hv_reason_name(enum hv_reason r)
{
    switch (r) {
    case HV_REASON_NONE: return "";
    case HV_POWEROFF:    return "poweroff";
    case HV_REBOOT:      return "reboot";
    case HV_SUSPEND:     return "suspend";
    case HV_CRASH:       return "crash";
    case HV_WATCHDOG:    return "watchdog";
    }
    return "unknown";
}

const char *hv_type_name(enum hv_type t)
{
    switch (t) {
    case HV_PVH: return "pvh";
    case HV_HVM: return "hvm";
    case HV_PV:  return "pv";
    }
    return "unknown";
}

bool hv_vdev_ok(const char *vdev)
{
    if (*vdev < 'a' || *vdev > 'z')
        return false;
    for (; *vdev; vdev++)
        if (!((*vdev >= 'a' && *vdev <= 'z') || (*vdev >= '0' && *vdev <= '9')))
            return false;
    return true;
}
