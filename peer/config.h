/* The configuration: /etc/violin/violin.conf, in libconfuse's form (`key = value`, lists in braces).
 *
 * One table (peer/config.c) holds each key with its default, range, unit and meaning; it parses,
 * checks, prints and makes deploy/violin.conf.example. What `config print` prints parses again. */
#ifndef PEER_CONFIG_H
#define PEER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CONFIG_FILE     "/etc/violin/violin.conf"
#define CONFIG_TEXT     256  /* bytes of a text value, with NUL */
#define CONFIG_LIST     32   /* entries of a list */
#define CONFIG_FILE_MAX (1u << 20)

struct config {
    /* where things are */
    char state_dir[CONFIG_TEXT], agent_dir[CONFIG_TEXT], run_dir[CONFIG_TEXT], socket[CONFIG_TEXT];
    char user[CONFIG_TEXT], group[CONFIG_TEXT];
    /* network */
    char listen[CONFIG_TEXT], advertise[CONFIG_TEXT];
    long port;
    char seeds[CONFIG_LIST][CONFIG_TEXT];
    unsigned n_seeds;
    long overlay_mtu, overlay_threads, overlay_path_mtu, overlay_rekey;
    long relay_bandwidth; /* MiB/s, 0: relays nothing */
    long overlay_broadcast_rate, overlay_guest_rate, overlay_unknown_rate; /* frames/s */
    long overlay_bandwidth;                                                /* MiB/s, 0: no limit */
    char overlay_learn[CONFIG_TEXT];
    char overlay_gso[CONFIG_TEXT], overlay_vnet_hdr[CONFIG_TEXT], overlay_cipher[CONFIG_TEXT];
    long migration_bandwidth; /* MiB/s, 0: none */
    /* hypervisor */
    char hypervisor[CONFIG_TEXT];
    char simulated_dir[CONFIG_TEXT], simulated_limbo[CONFIG_TEXT];
    char image_dirs[CONFIG_LIST][CONFIG_TEXT];
    unsigned n_image_dirs;
    char image_cache[CONFIG_TEXT];
    long image_cache_size; /* MiB, 0: nothing is fetched */
    long image_bandwidth;  /* MiB/s, 0: no limit */
    char outside_bridge[CONFIG_TEXT];
    char disk_folder[CONFIG_TEXT];
    char disk_adopt[CONFIG_LIST][CONFIG_TEXT];
    unsigned n_disk_adopt;
    char start_guests[CONFIG_TEXT];
    /* policy */
    char mode[CONFIG_TEXT];
    char placement[CONFIG_TEXT];
    long memory_reserve;   /* MiB */
    long dom0_cpu;         /* percent of one CPU */
    long evaluation_period; /* s */
    long evaluations_needed, evaluations_of;
    double range_low, range_high;
    long memory_floor;     /* MiB */
    long shrink_window, settle_time, cooldown, no_return; /* s */
    long moves_per_hour, arrivals_max;
    long env_cooldown;     /* s */
    long env_moves_at_once;
    char pinned[CONFIG_LIST][CONFIG_TEXT];
    unsigned n_pinned;
    long payoff_horizon;   /* s */
    long forecast_after;   /* s */
    long report_stale;     /* s */
    /* keys */
    long cert_lifetime;    /* s */
    /* gossip */
    long peer_nice;
    long probe_interval;   /* ms */
    /* the rest */
    char log_level[CONFIG_TEXT];
    long events_kept;
};

/* The defaults. */
void config_defaults(struct config *c);
/* Reads a file over the defaults. A missing file is an error unless it is CONFIG_FILE itself, whose
 * absence means the defaults. 0, or VI_EINVAL / VI_EIO with one line in why: file, line, key, what
 * is allowed. Never keeps half: on an error c holds the defaults. */
int config_load(struct config *c, const char *path, char *why, size_t cap);
/* The same from memory; name is for messages. */
int config_parse(struct config *c, const char *text, size_t len, const char *name, char *why,
                 size_t cap);
/* Fills in where the image cache is, if it isn't set. VI_EINVAL: state-dir's path is too long for that. */
int config_image_cache(struct config *c);
/* Every key with its meaning, range and value; parses again. */
void config_print(const struct config *c, FILE *out);

/* Do the settings fit this host: addresses, seeds, folders, user and group? A line into out for each that doesn't
 * (folders that the start makes may be missing); returns how many. Resolves names, so it may block. */
unsigned config_surroundings(const struct config *c, FILE *out);

/* `violin config check|print`. argv[0] is "config". Returns the exit status. */
int config_command(const char *path, int argc, char **argv);

#endif
