/* The clients of tests/perf: load on a server at 127.0.0.1:PORT, so that the server is what is measured.
 *
 *   load pingpong PORT N             N one-byte round trips on one connection; prints how many a second
 *   load connects PORT MS CLIENTS    CLIENTS processes, for MS milliseconds: connect, one byte there and back,
 *                                    shut down, wait for the server's end; prints how many a second
 *   load fanout PORT CLIENTS N SIZE  CLIENTS connections; when a message of the first reaches all others, prints
 *                                    "ready" and waits for a line on stdin; then N messages of SIZE bytes from
 *                                    the first; prints how many were delivered a second, or how many bytes miss
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AHEAD (256 << 10) /* how far the sender may be ahead of the others: no server need store more */

static int port;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* from 127.0.1.SOURCE, so that ports in TIME_WAIT do not run out */
static int dial(int source)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000100 + source)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int one = 1, s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (s < 0 || bind(s, (struct sockaddr *)&from, sizeof from) < 0)
        die("bind");
    if (connect(s, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}

static int there_and_back(int s)
{
    char byte = 'x';
    return write(s, &byte, 1) == 1 && read(s, &byte, 1) == 1;
}

static int pingpong(int rounds)
{
    int s = dial(1);
    double begin = now();
    for (int i = 0; i < rounds; i++)
        if (!there_and_back(s))
            die("round trip");
    printf("%.0f\n", rounds / (now() - begin));
    return 0;
}

static int connects(int milliseconds, int clients)
{
    int results[2];
    long total = 0, count;
    double begin = now();
    if (pipe(results) < 0)
        die("pipe");
    for (int i = 0; i < clients; i++) {
        if (fork())
            continue;
        char byte;
        for (count = 0; now() - begin < milliseconds / 1e3; count++) {
            int s = dial(1 + i);
            if (!there_and_back(s))
                die("short connection");
            shutdown(s, SHUT_WR);
            if (read(s, &byte, 1) != 0)
                die("its end");
            close(s);
        }
        _exit(write(results[1], &count, sizeof count) != sizeof count);
    }
    for (int i = 0; i < clients; i++) {
        int status;
        wait(&status);
        if (status)
            return 1;
        if (read(results[0], &count, sizeof count) == sizeof count)
            total += count;
    }
    printf("%.0f\n", total / (now() - begin));
    return 0;
}

static long *received;
static char *last;
static int *sockets, poller;

/* Reads what there is for up to that many milliseconds; the bytes read. */
static long drain(int milliseconds)
{
    struct epoll_event events[256];
    static char block[1 << 16];
    long total = 0;
    int n = epoll_wait(poller, events, 256, milliseconds);
    for (int i = 0; i < n; i++) {
        int client = events[i].data.u32;
        ssize_t got = recv(sockets[client], block, sizeof block, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            fprintf(stderr, "client %d was cut off\n", client);
            exit(1);
        }
        if (got > 0) {
            received[client] += got;
            last[client] = block[got - 1];
            total += got;
        }
    }
    return total;
}

static int all_have(char byte, int clients)
{
    for (int i = 1; i < clients; i++)
        if (last[i] != byte)
            return 0;
    return 1;
}

/* The server may still be accepting: repeat a byte until everybody got it, then mark the end of the repeats. */
static void synchronise(int clients)
{
    for (double next = 0, end = now() + 120; !all_have('s', clients); drain(10)) {
        if (now() > end) {
            fprintf(stderr, "not all clients were served\n");
            exit(1);
        }
        if (now() > next) {
            send(sockets[0], "s", 1, 0);
            next = now() + 0.25;
        }
    }
    send(sockets[0], "e", 1, 0);
    while (!all_have('e', clients))
        drain(100);
}

static int fanout(int clients, int messages, int size)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    received = calloc(clients, sizeof *received);
    last = calloc(clients, 1);
    sockets = calloc(clients, sizeof *sockets);
    poller = epoll_create1(0);
    for (int i = 0; i < clients; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        sockets[i] = dial(1 + i % 100);
        if (clients <= 1000)
            usleep(1000); /* a short backlog (ncat has 10) would drop them, and each drop costs a second */
        epoll_ctl(poller, EPOLL_CTL_ADD, sockets[i], &event);
    }
    synchronise(clients);
    char line[8], *message = malloc(size);
    memset(message, 'm', size);
    message[size - 1] = '\n';
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    long wanted = (long)(clients - 1) * messages * size, got = 0, offset = 0;
    double begin = now(), progress = begin;
    for (int sent = 0; got < wanted && now() - progress < 20;) {
        while (sent < messages && (long)sent * size - got / (clients - 1) < AHEAD) {
            ssize_t n = send(sockets[0], message + offset, size - offset, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0)
                break;
            offset = (offset + n) % size;
            sent += offset == 0;
        }
        long more = drain(20);
        got += more;
        if (more)
            progress = now();
    }
    if (got != wanted) {
        fprintf(stderr, "%ld bytes of %ld were lost\n", wanted - got, wanted);
        return 1;
    }
    printf("%.0f\n", (double)(clients - 1) * messages / (now() - begin));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4) {
        port = atoi(argv[2]);
        if (!strcmp(argv[1], "pingpong"))
            return pingpong(atoi(argv[3]));
        if (!strcmp(argv[1], "connects") && argc == 5)
            return connects(atoi(argv[3]), atoi(argv[4]));
        if (!strcmp(argv[1], "fanout") && argc == 6)
            return fanout(atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    }
    fprintf(stderr, "usage: load pingpong|connects|fanout PORT ...\n");
    return 2;
}
