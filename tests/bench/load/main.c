/* The load client: opens many WebSocket connections to one server, has it publish, counts what comes.
 *
 * It reads commands from its standard input, one a line, and answers each with one line of JSON:
 *
 *   open TOTAL STALLED          open connections up to TOTAL; the first STALLED of them never read
 *   rounds SIZE PER SECONDS MAX publish PER messages of SIZE bytes; again as soon as all have got them
 *   paced SIZE PER MILLIS COUNT publish PER messages each MILLIS milliseconds, COUNT times; measure the latency
 *   stalled SECONDS             wait this long for the server to end the stalled ones; say how it did
 *   close                       end all connections
 *
 * The server publishes at a datagram "PER SIZE" to the UDP port of the same number. Between two commands the
 * connections are served: pings are answered. Without events for PATIENCE a command gives up and says so. */
#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CAPACITY = 16384 };

static const uint64_t SECOND = UINT64_C(1000000000);
static const uint64_t PATIENCE = 10 * UINT64_C(1000000000);

struct span { /* what a command cost this process */
    uint64_t began;
    struct rusage usage;
};

static struct crowd crowd;
static struct histogram histogram;
static int control = -1;

static struct span span_begin(void)
{
    struct span span = {.began = clock_now()};
    getrusage(RUSAGE_SELF, &span.usage);
    return span;
}

static double cpu_of(const struct rusage *usage)
{
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           1e-6 * (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

/* The fields that all answers have, and the end of the line. */
static void finish(const struct span *span)
{
    struct rusage usage;
    double seconds = (double)(clock_now() - span->began) * 1e-9;
    getrusage(RUSAGE_SELF, &usage);
    printf("\"seconds\": %.6f, \"client_cpu\": %.4f, \"open\": %d, \"stalled\": %d, \"failed\": %d, \"lost\": %d, ",
           seconds, seconds > 0 ? (cpu_of(&usage) - cpu_of(&span->usage)) / seconds : 0.0, crowd.open, crowd.stalled,
           crowd.failed, crowd.lost);
    printf("\"trouble\": \"");
    for (const char *c = crowd.trouble; *c != 0; c++)
        if (*c >= ' ' && *c < 127 && *c != '"' && *c != '\\')
            putchar(*c);
    printf("\"}\n");
    fflush(stdout);
}

static void ask(int per, int size)
{
    char command[32];
    int length = snprintf(command, sizeof command, "%d %d", per, size);
    if (send(control, command, (size_t)length, 0) < 0)
        snprintf(crowd.trouble, sizeof crowd.trouble, "no answer on the UDP port: %s", strerror(errno));
}

static void command_open(int total, int stalled)
{
    struct span span = span_begin();
    uint64_t patience = span.began + PATIENCE;
    int before = crowd.used;
    int done = 0;
    while (crowd.used < total || crowd.shaking > 0) {
        crowd_begin(&crowd, total, stalled);
        crowd_pump(&crowd, 1000, -1);
        int open = crowd.used - crowd.shaking;
        if (open != done)
            patience = clock_now() + PATIENCE;
        done = open;
        if (clock_now() > patience || crowd.used >= crowd.capacity)
            break;
    }
    double seconds = (double)(clock_now() - span.began) * 1e-9;
    printf("{\"opened\": %d, \"per_second\": %.1f, ", crowd.used - crowd.shaking - before,
           seconds > 0 ? (crowd.used - crowd.shaking - before) / seconds : 0.0);
    finish(&span);
}

/* Serve until `messages` have been counted. Returns whether they were, before nothing came for PATIENCE. */
static int await_messages(uint64_t messages)
{
    uint64_t seen = crowd.messages, patience = clock_now() + PATIENCE;
    while (crowd.messages < messages) {
        crowd_pump(&crowd, 1000, -1);
        if (crowd.messages == seen && clock_now() > patience)
            return 0;
        if (crowd.messages != seen) {
            seen = crowd.messages;
            patience = crowd.now + PATIENCE;
        }
        if (crowd.open == 0 || crowd.lost > 0)
            return 0;
    }
    return 1;
}

static void count_from_here(void)
{
    crowd.messages = crowd.bytes = crowd.others = 0;
    for (int i = 0; i < crowd.used; i++)
        crowd.connections[i].messages = 0;
}

/* What was counted, and whether each reader got the same. */
static void tell_counts(int rounds, int complete)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < crowd.used; i++) {
        const struct connection *connection = &crowd.connections[i];
        if (connection->state != OPEN)
            continue;
        if (connection->messages < least)
            least = connection->messages;
        if (connection->messages > most)
            most = connection->messages;
    }
    printf("{\"rounds\": %d, \"complete\": %s, \"messages\": %llu, \"bytes\": %llu, \"least\": %llu, \"most\": %llu, ",
           rounds, complete ? "true" : "false", (unsigned long long)crowd.messages, (unsigned long long)crowd.bytes,
           (unsigned long long)(most == 0 ? 0 : least), (unsigned long long)most);
}

static void command_rounds(int size, int per, double seconds, int most)
{
    struct span span = span_begin();
    uint64_t last = span.began + (uint64_t)(seconds * 1e9);
    int rounds = 0, complete = crowd.open > 0;
    count_from_here();
    while (complete && rounds < most && (rounds == 0 || clock_now() < last)) {
        ask(per, size);
        rounds++;
        complete = await_messages((uint64_t)rounds * (uint64_t)per * (uint64_t)crowd.open);
    }
    tell_counts(rounds, complete);
    finish(&span);
}

static void command_paced(int size, int per, int millis, int count)
{
    struct span span = span_begin();
    uint64_t due = span.began;
    uint64_t wanted = (uint64_t)count * (uint64_t)per * (uint64_t)crowd.open;
    memset(&histogram, 0, sizeof histogram);
    count_from_here();
    crowd.latency = &histogram;
    for (int i = 0; i < count; i++) {
        ask(per, size);
        due += (uint64_t)millis * 1000000U;
        for (uint64_t now = clock_now(); now < due; now = clock_now())
            crowd_pump(&crowd, (int)((due - now) / 1000000U), -1);
    }
    int complete = crowd.open > 0 && await_messages(wanted);
    crowd.latency = NULL;
    tell_counts(count, complete);
    printf("\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, ", (double)histogram_at(&histogram, 0.5) * 1e-6,
           (double)histogram_at(&histogram, 0.99) * 1e-6, (double)histogram.largest * 1e-6);
    finish(&span);
}

static void command_stalled(double seconds)
{
    struct span span = span_begin();
    uint64_t deadline = span.began + (uint64_t)(seconds * 1e9);
    int counts[5] = {0}; /* too slow, another code, reset, end of the stream without a Close frame, still open */
    int of = 0;
    while (crowd.stalled > 0 && clock_now() < deadline)
        crowd_pump(&crowd, 100, -1);
    double took = (double)(clock_now() - span.began) * 1e-9;
    for (uint64_t more = clock_now() + SECOND; crowd.stalled > 0 && clock_now() < more;) {
        crowd_read_stalled(&crowd);
        crowd_pump(&crowd, 1, -1);
    }
    for (int i = 0; i < crowd.used; i++) {
        const struct connection *connection = &crowd.connections[i];
        if (!connection->stalling)
            continue;
        of++;
        if (connection->state == STALLED && connection->close_code == 0)
            counts[4]++;
        else if (connection->close_code != 0)
            counts[connection->close_code == 4000 ? 0 : 1]++;
        else
            counts[connection->ended_by != 0 ? 2 : 3]++;
    }
    printf("{\"of\": %d, \"ended_after\": %.3f, \"closed_4000\": %d, \"closed_other\": %d, \"reset\": %d, "
           "\"cut_off\": %d, \"still_open\": %d, ",
           of, took, counts[0], counts[1], counts[2], counts[3], counts[4]);
    finish(&span);
}

static void command_close(void)
{
    struct span span = span_begin();
    crowd_close(&crowd);
    printf("{");
    finish(&span);
}

static int obey(const char *line)
{
    int a, b, c, d;
    double seconds;
    if (sscanf(line, "open %d %d", &a, &b) == 2)
        command_open(a, b);
    else if (sscanf(line, "rounds %d %d %lf %d", &a, &b, &seconds, &d) == 4)
        command_rounds(a, b, seconds, d);
    else if (sscanf(line, "paced %d %d %d %d", &a, &b, &c, &d) == 4)
        command_paced(a, b, c, d);
    else if (sscanf(line, "stalled %lf", &seconds) == 1)
        command_stalled(seconds);
    else if (strncmp(line, "close", 5) == 0)
        command_close();
    else
        return -1;
    return 0;
}

/* Obey what comes on the standard input, serving the connections meanwhile, until it ends. */
static int serve_commands(void)
{
    char line[256];
    size_t have = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(crowd.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0) {
        perror("standard input must be a pipe");
        return 1;
    }
    for (;;) {
        if (!crowd_pump(&crowd, 1000, STDIN_FILENO))
            continue;
        ssize_t got = read(STDIN_FILENO, line + have, sizeof line - 1 - have);
        if (got <= 0)
            return 0;
        have += (size_t)got;
        line[have] = 0;
        for (char *newline; (newline = strchr(line, '\n')) != NULL;) {
            *newline = 0;
            if (obey(line) < 0) {
                fprintf(stderr, "not a command: %s\n", line);
                return 2;
            }
            have -= (size_t)(newline + 1 - line);
            memmove(line, newline + 1, have + 1);
        }
    }
}

/* --parse CHUNK and --percentiles: this program's own parts, for its tests. */

static void tell_frame(void *context, const struct wire_frame *frame)
{
    (void)context;
    printf("%d %d %llu %.*s\n", frame->opcode, frame->final, (unsigned long long)frame->length,
           frame->peeked < 8 ? (int)frame->peeked : 8, (const char *)frame->peek);
}

static int parse_input(size_t chunk)
{
    static uint8_t data[65536];
    struct wire wire = {0};
    size_t got;
    while ((got = fread(data, 1, chunk < sizeof data ? chunk : sizeof data, stdin)) > 0)
        if (wire_feed(&wire, data, got, tell_frame, NULL) < 0)
            return 3;
    return 0;
}

static int tell_percentiles(void)
{
    unsigned long long value;
    while (scanf("%llu", &value) == 1)
        histogram_add(&histogram, value);
    printf("%llu %llu %llu\n", (unsigned long long)histogram_at(&histogram, 0.5),
           (unsigned long long)histogram_at(&histogram, 0.99), (unsigned long long)histogram.largest);
    return 0;
}

static int connect_control(void)
{
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return control < 0 ? -1 : connect(control, (struct sockaddr *)&crowd.server, sizeof crowd.server);
}

int main(int argc, char **argv)
{
    enum { HOST, PORT, PATH, SUBSCRIBE, CONFIRMATIONS, LEAST, DEFLATE, ENGINEIO, SOURCES, AT_ONCE, PARSE, PERCENTILES };
    static const struct option LONG[] = {
        {"host", 1, NULL, HOST},         {"port", 1, NULL, PORT},
        {"path", 1, NULL, PATH},         {"subscribe", 1, NULL, SUBSCRIBE},
        {"deflate", 0, NULL, DEFLATE},   {"confirmations", 1, NULL, CONFIRMATIONS},
        {"least", 1, NULL, LEAST},       {"engineio", 0, NULL, ENGINEIO},
        {"sources", 1, NULL, SOURCES},   {"at-once", 1, NULL, AT_ONCE},
        {"parse", 1, NULL, PARSE},       {"percentiles", 0, NULL, PERCENTILES},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.host = "127.0.0.1", .path = "/", .least = 200, .at_once = 64};
    for (int option; (option = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
        switch (option) {
        case HOST: options.host = optarg; break;
        case PORT: options.port = atoi(optarg); break;
        case PATH: options.path = optarg; break;
        case SUBSCRIBE: options.subscribe = optarg; break;
        case CONFIRMATIONS: options.confirmations = atoi(optarg); break;
        case LEAST: options.least = (uint64_t)atoll(optarg); break;
        case DEFLATE: options.deflate = 1; break;
        case ENGINEIO: options.engineio = 1; break;
        case SOURCES: options.sources = atoi(optarg); break;
        case AT_ONCE: options.at_once = atoi(optarg); break;
        case PARSE: return parse_input((size_t)atoll(optarg));
        case PERCENTILES: return tell_percentiles();
        default: return 2;
        }
    }
    if (crowd_init(&crowd, &options, CAPACITY) < 0 || connect_control() < 0) {
        fprintf(stderr, "%s %s\n", crowd.trouble, strerror(errno));
        return 1;
    }
    return serve_commands();
}
