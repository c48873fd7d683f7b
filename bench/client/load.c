/* Many small tus requests over keep-alive connections, from one thread and epoll, so that the server is the limit.
 *
 *   load create HOST PORT PATH  CONNECTIONS REQUESTS SECONDS SIZE LENGTH FILE
 *        POST with SIZE bytes of an upload of LENGTH; writes the Location of each to FILE
 *   load head   HOST PORT -     CONNECTIONS REQUESTS SECONDS OFFSET -    FILE
 *        HEAD of the paths in FILE, round and round; Upload-Offset must be OFFSET
 *   load delete HOST PORT -     CONNECTIONS REQUESTS SECONDS -      -    FILE
 *        DELETE of the paths in FILE, once each
 *
 * It ends after REQUESTS requests or SECONDS seconds, whichever comes first, and awaits what is under way.
 * The one line it prints: seconds=1.500000 right=12000 wrong=0 reconnects=0 first="" . An answer is right when its
 * status is the one a tus server gives (201, 200, 204) and, for head, when its offset is the right one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 64 * 1024, PATH_MAX_BYTES = 512 };
enum mode { CREATE, HEAD, DELETE };

struct connection {
    int fd, busy;
    char *out;
    size_t out_length, sent, in_length;
    char in[INPUT];
};

static enum mode mode;
static struct sockaddr_in address;
static const char *host, *root;
static long requests, asked, right, wrong, reconnects, expected_offset, size, upload_length;
static double deadline;
static char first_wrong[200], *create_request;
static size_t create_request_length;
static char **paths;
static long paths_count;
static FILE *locations;
static int poller;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void build_create(void) {
    create_request = malloc(4096 + size);
    int head = snprintf(create_request, 4096,
        "POST %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\nUpload-Length: %ld\r\n"
        "Upload-Metadata: filename YS5iaW4=,filetype YXBwbGljYXRpb24vb2N0ZXQtc3RyZWFt\r\n"
        "Content-Type: application/offset+octet-stream\r\nContent-Length: %ld\r\n\r\n",
        root, host, upload_length, size);
    memset(create_request + head, 'x', size);
    create_request_length = head + size;
}

static void read_paths(const char *file) {
    char line[PATH_MAX_BYTES];
    long room = 0;
    FILE *f = fopen(file, "r");
    if (!f) die(file);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (paths_count == room) paths = realloc(paths, (room = room ? room * 2 : 1024) * sizeof *paths);
        paths[paths_count++] = strdup(line);
    }
    fclose(f);
    if (!paths_count) { fprintf(stderr, "load: no paths in %s\n", file); exit(1); }
}

static void open_connection(struct connection *c) {
    int one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) die("epoll_ctl");
    c->in_length = c->busy = 0;
}

static void reopen(struct connection *c) {
    close(c->fd);
    reconnects++;
    open_connection(c);
}

static void push(struct connection *c) {
    while (c->sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->sent, c->out_length - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (n < 0) return; /* the reading side learns of it */
        c->sent += n;
    }
    struct epoll_event event = {.events = EPOLLIN | (c->sent < c->out_length ? EPOLLOUT : 0), .data.ptr = c};
    static int waiting_to_write;
    if (c->sent < c->out_length || waiting_to_write) {
        waiting_to_write = 1;
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    }
}

static int ask(struct connection *c) {
    if (asked >= requests || (mode == DELETE && asked >= paths_count) || now() >= deadline) return 0;
    if (mode == CREATE) {
        c->out = create_request;
        c->out_length = create_request_length;
    } else {
        static const char *names[] = {"", "HEAD", "DELETE"};
        if (!c->out) c->out = malloc(PATH_MAX_BYTES + 256);
        c->out_length = snprintf(c->out, PATH_MAX_BYTES + 256, "%s %s HTTP/1.1\r\nHost: %s\r\nTus-Resumable: 1.0.0\r\n\r\n",
                                 names[mode], paths[asked % paths_count], host);
    }
    asked++;
    c->sent = 0;
    c->busy = 1;
    push(c);
    return 1;
}

/* The value of a header inside head, or NULL; its end is the end of the line. */
static const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, name, length) && line[2 + length] == ':') {
            const char *value = line + 3 + length;
            while (*value == ' ') value++;
            return value;
        }
    }
    return NULL;
}

static void note_wrong(const char *what) {
    if (!wrong++) {
        size_t i = 0;
        for (; what[i] && what[i] != '\r' && i < sizeof first_wrong - 1; i++) first_wrong[i] = what[i] == '"' ? '\'' : what[i];
        first_wrong[i] = 0;
    }
}

static void judge(const char *head) {
    static const int statuses[] = {201, 200, 204};
    const char *location = mode == CREATE ? field(head, "Location") : NULL, *offset = field(head, "Upload-Offset");
    if (atoi(head + 9) != statuses[mode]) { note_wrong(head); return; }
    if (mode == HEAD && (!offset || atol(offset) != expected_offset)) { note_wrong(offset ? offset : "no Upload-Offset"); return; }
    if (mode == CREATE) {
        if (!location) { note_wrong("no Location"); return; }
        if (!strncasecmp(location, "http", 4)) location = strchr(strstr(location, "://") + 3, '/');
        fprintf(locations, "%.*s\n", (int)strcspn(location, "\r"), location);
    }
    right++;
}

/* Length of the whole answer once it is there, else 0. */
static size_t whole(struct connection *c) {
    c->in[c->in_length] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return 0;
    size_t head = end + 4 - c->in;
    const char *length = field(c->in, "Content-Length"), *encoding = field(c->in, "Transfer-Encoding");
    if (mode == HEAD || atoi(c->in + 9) == 204) return head;
    if (encoding && !strncasecmp(encoding, "chunked", 7)) {
        char *last = strstr(end + 2, "\r\n0\r\n\r\n");
        return last ? (size_t)(last + 7 - c->in) : 0;
    }
    head += length ? atol(length) : 0;
    return head <= c->in_length ? head : 0;
}

/* Reads what came; 1 while the connection has a request under way. */
static int pull(struct connection *c) {
    ssize_t n = recv(c->fd, c->in + c->in_length, INPUT - 1 - c->in_length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return c->busy;
    if (n <= 0) {
        int lost = c->busy;
        if (lost) note_wrong("the connection was closed without an answer");
        reopen(c);
        return ask(c);
    }
    c->in_length += n;
    size_t length = whole(c);
    if (!length) return c->busy;
    const char *connection = field(c->in, "Connection");
    int closing = connection && !strncasecmp(connection, "close", 5);
    judge(c->in);
    memmove(c->in, c->in + length, c->in_length -= length);
    c->busy = 0;
    if (closing) reopen(c);
    return ask(c);
}

int main(int count, char **args) {
    if (count != 11) { fprintf(stderr, "usage: see the head of load.c\n"); return 2; }
    mode = !strcmp(args[1], "create") ? CREATE : !strcmp(args[1], "head") ? HEAD : DELETE;
    host = args[2];
    root = args[4];
    int connections = atoi(args[5]);
    requests = atol(args[6]);
    size = expected_offset = atol(args[8]);
    upload_length = atol(args[9]);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(args[3])), .sin_addr.s_addr = inet_addr(host)};
    if (mode == CREATE) {
        build_create();
        if (!(locations = fopen(args[10], "w"))) die(args[10]);
    } else {
        read_paths(args[10]);
    }
    poller = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) open_connection(&all[i]);
    double start = now();
    deadline = start + atof(args[7]);
    int busy = 0;
    for (int i = 0; i < connections; i++) busy += ask(&all[i]);
    double last = now();
    while (busy) {
        struct epoll_event events[64];
        int n = epoll_wait(poller, events, 64, 30000);
        if (n == 0) { note_wrong("no answer for 30 s"); break; }
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            int before = c->busy;
            if (events[i].events & EPOLLOUT) push(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                int still = pull(c);
                busy += still - before;
            }
        }
        last = now();
    }
    if (locations) fclose(locations);
    printf("seconds=%.6f right=%ld wrong=%ld reconnects=%ld first=\"%s\"\n", last - start, right, wrong, reconnects, first_wrong);
    return 0;
}
