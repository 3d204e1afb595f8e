/* The yardstick of tests/perf: stdin -> TCP -> stdout with the system calls a fast netcat makes, and nothing else.
 *
 *   reference listen         accept one client on 127.0.0.1 (any port), move its bytes to stdout
 *   reference connect PORT   move stdin to 127.0.0.1:PORT, shut down, wait for the peer's end
 *   reference packets N      copy stdin to stdout in writes of N bytes (stdout: a socket that keeps boundaries)
 *
 * A regular file goes out by sendfile, a pipe by splice; what comes in goes to a pipe directly, to anything else
 * through a pipe of 1 MiB.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define GULP (1 << 20)

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int is_pipe(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        die("fstat");
    return S_ISFIFO(st.st_mode);
}

static void widen(int fd)
{
    fcntl(fd, F_SETPIPE_SZ, GULP); /* refused beyond the user's allowance: then 64 KiB it is */
}

static void send_stdin(int sock)
{
    ssize_t n;
    if (is_pipe(0)) {
        widen(0);
        while ((n = splice(0, NULL, sock, NULL, GULP, SPLICE_F_MOVE | SPLICE_F_MORE)) > 0)
            ;
    } else {
        while ((n = sendfile(sock, 0, NULL, GULP)) > 0)
            ;
    }
    if (n < 0)
        die("send");
}

static void receive_to_stdout(int sock)
{
    ssize_t n, m;
    int ends[2];
    if (is_pipe(1)) {
        widen(1);
        while ((n = splice(sock, NULL, 1, NULL, GULP, SPLICE_F_MOVE | SPLICE_F_MORE)) > 0)
            ;
    } else {
        if (pipe(ends) < 0)
            die("pipe");
        widen(ends[1]);
        while ((n = splice(sock, NULL, ends[1], NULL, GULP, SPLICE_F_MOVE | SPLICE_F_MORE)) > 0)
            while (n > 0) {
                if ((m = splice(ends[0], NULL, 1, NULL, n, SPLICE_F_MOVE | SPLICE_F_MORE)) <= 0)
                    die("write");
                n -= m;
            }
    }
    if (n < 0)
        die("receive");
}

static int packets(size_t size)
{
    static char block[GULP];
    size_t per_block = GULP / size * size;
    FILE *in = fdopen(0, "rb");
    for (size_t got; (got = fread(block, 1, per_block, in)) > 0;)
        for (size_t at = 0; at < got; at += size)
            if (write(1, block + at, got - at < size ? got - at : size) < 0)
                die("write");
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    char byte;
    if (argc == 3 && !strcmp(argv[1], "packets"))
        return packets(atoi(argv[2]));
    if (argc == 3 && !strcmp(argv[1], "connect")) {
        address.sin_port = htons(atoi(argv[2]));
        if (connect(sock, (struct sockaddr *)&address, sizeof address) < 0)
            die("connect");
        send_stdin(sock);
        shutdown(sock, SHUT_WR);
        return read(sock, &byte, 1) < 0;
    }
    if (argc == 2 && !strcmp(argv[1], "listen")) {
        if (bind(sock, (struct sockaddr *)&address, sizeof address) < 0 || listen(sock, 1) < 0)
            die("listen");
        int client = accept(sock, NULL, NULL);
        if (client < 0)
            die("accept");
        receive_to_stdout(client);
        return 0;
    }
    fprintf(stderr, "usage: reference listen | connect PORT | packets N\n");
    return 2;
}
