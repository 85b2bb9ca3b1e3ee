/* The commands of violin-sim, beside `measure`. Each takes what follows its name; exit status. */
#ifndef TESTS_SIM_COMMAND_H
#define TESTS_SIM_COMMAND_H

int command_run(int argc, char **argv);
int command_soak(int argc, char **argv);
int command_adapt(int argc, char **argv);
int command_scale(int argc, char **argv);
int command_trace(int argc, char **argv);

#define COMMAND_RUN_USAGE  "violin-sim run FILE [--seed N] [--json OUT] [--svg OUT] [--trace]"
#define COMMAND_SOAK_USAGE "violin-sim soak [--seconds N] [--seed FIRST] [--seeds N] [--jobs J] [--verbose]"
#define COMMAND_ADAPT_USAGE \
    "violin-sim adapt FILE... [--seeds N] [--seed FIRST] [--systems reference,violin-20s,violin-modelled]\n" \
    "                        [--json OUT] [--html OUT] [--events] [--aloud]"
#define COMMAND_SCALE_USAGE \
    "violin-sim scale [--seed N] [--domains N] [--hosts N] [--guests N] [--hot N] [--hot-domains N] [--hot-guests N]\n" \
    "                        [--base CPUS] [--wants CPUS] [--noise CPUS] [--before S] [--after S] [--period S] [--events]"
#define COMMAND_TRACE_USAGE \
    "violin-sim trace [FILE|-] [--system violin] [--case mean|pack] [--mean 0.5] [--seed N]\n" \
    "                        [--hosts 800] [--memory] [--guests 1052]   (without FILE: a generated day)"

#endif
