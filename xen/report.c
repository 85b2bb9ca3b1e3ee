/* A guest's report of itself. One line that the guest writes to its own xenstore node data/violin:
 *     v=1 seq=N total_kb=N available_kb=N swap_used_kb=N steal_ms=N
 * Words in any order, each at most once; words that are not known are for later versions and are
 * passed over. The guest may write whatever it likes there, so everything is bounded here. */
#include <string.h>

#include "xen/hypervisor.h"

#define REPORT_MAX 512                    /* bytes that are looked at; longer is refused */
#define KB_MAX     ((uint64_t)1 << 36)    /* 64 TiB */
#define COUNT_MAX  ((uint64_t)1 << 53)    /* exact in a JSON number */

enum word { W_VERSION, W_SEQ, W_TOTAL, W_AVAILABLE, W_SWAP, W_STEAL, WORDS };

static const struct {
    const char *key;
    uint64_t max;
} words[WORDS] = {
    [W_VERSION] = {"v", 1},
    [W_SEQ] = {"seq", COUNT_MAX},
    [W_TOTAL] = {"total_kb", KB_MAX},
    [W_AVAILABLE] = {"available_kb", KB_MAX},
    [W_SWAP] = {"swap_used_kb", KB_MAX},
    [W_STEAL] = {"steal_ms", COUNT_MAX},
};

static bool parse_number(const char *s, size_t len, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (len == 0 || len > 17)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s[i] - '0');
    }
    *out = v;
    return v <= max;
}

static int parse_word(const char *s, size_t len, uint64_t value[WORDS], unsigned *have)
{
    const char *eq = memchr(s, '=', len);
    if (!eq)
        return VI_EPROTO;
    size_t k = (size_t)(eq - s);
    for (unsigned w = 0; w < WORDS; w++) {
        if (strlen(words[w].key) != k || memcmp(words[w].key, s, k) != 0)
            continue;
        if (*have & 1u << w || !parse_number(eq + 1, len - k - 1, words[w].max, &value[w]))
            return VI_EPROTO;
        *have |= 1u << w;
        return 0;
    }
    return 0;
}

int hv_report_parse(struct hv_report *report, const char *text, size_t len)
{
    uint64_t value[WORDS] = {0};
    unsigned have = 0;

    memset(report, 0, sizeof *report);
    if (!text || len > REPORT_MAX)
        return VI_EPROTO;
    while (len && (text[len - 1] == '\n' || text[len - 1] == ' ' || text[len - 1] == '\0'))
        len--;
    for (size_t i = 0; i < len;) {
        size_t n = 0;
        while (i + n < len && text[i + n] != ' ')
            n++;
        if (n && parse_word(text + i, n, value, &have) < 0)
            return VI_EPROTO;
        i += n + 1;
    }
    if (have != (1u << WORDS) - 1 || value[W_VERSION] != 1 || value[W_TOTAL] == 0 ||
        value[W_AVAILABLE] > value[W_TOTAL])
        return VI_EPROTO;
    *report = (struct hv_report){
        .present = true,
        .sequence = value[W_SEQ],
        .total_kb = value[W_TOTAL],
        .available_kb = value[W_AVAILABLE],
        .swap_used_kb = value[W_SWAP],
        .steal_ms = value[W_STEAL],
    };
    return 0;
}
