/* What other domains send: the first byte chooses the decoder. What is taken must encode again. */
#include <stdlib.h>
#include <string.h>

#include "peer/federation.h"

static const uint8_t sk[64] = {1};

static void again(int n)
{
    if (n <= 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t out[FED_RECORD_MAX];
    char text[FED_CARD_TEXT];
    union {
        struct fed_card card;
        struct fed_trust trust;
        struct fed_summary summary;
        struct fed_view view;
        struct fed_presence presence;
    } u;

    if (size < 1)
        return 0;
    switch (data[0] % 5) {
    case 0:
        if (size > sizeof text)
            break;
        memcpy(text, data + 1, size - 1);
        text[size - 1] = 0;
        if (!fed_card_decode(&u.card, text, NULL) && fed_card_encode(&u.card, text))
            abort();
        break;
    case 1:
        if (!fed_trust_decode(&u.trust, data + 1, size - 1))
            again(fed_trust_encode(&u.trust, sk, out, sizeof out));
        break;
    case 2:
        if (!fed_summary_decode(&u.summary, data + 1, size - 1))
            again(fed_summary_encode(&u.summary, sk, out, sizeof out));
        break;
    case 3:
        if (!fed_view_decode(&u.view, data + 1, size - 1))
            again(fed_view_encode(&u.view, sk, out, sizeof out));
        break;
    default:
        if (!fed_presence_decode(&u.presence, data + 1, size - 1))
            again(fed_presence_encode(&u.presence, sk, out, sizeof out));
        break;
    }
    return 0;
}
