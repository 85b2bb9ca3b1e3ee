/* The commands of violin-sim, beside `measure`. Each takes what follows its name; exit status. */
#ifndef TESTS_SIM_COMMAND_H
#define TESTS_SIM_COMMAND_H

int command_run(int argc, char **argv);
int command_soak(int argc, char **argv);
int command_adapt(int argc, char **argv);

#define COMMAND_RUN_USAGE  "violin-sim run FILE [--seed N] [--json OUT] [--svg OUT] [--trace]"
#define COMMAND_SOAK_USAGE "violin-sim soak [--seconds N] [--seed FIRST] [--seeds N] [--jobs J] [--verbose]"
#define COMMAND_ADAPT_USAGE \
    "violin-sim adapt FILE... [--seeds N] [--seed FIRST] [--systems static,reference]\n" \
    "                        [--json OUT] [--html OUT] [--events]"

#endif
