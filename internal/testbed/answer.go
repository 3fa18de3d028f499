package testbed

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// An Answer is what a server said to one request, and who it was.
type Answer struct {
	Status int
	Server string // the header of that name
	Header http.Header
	Body   string
	PID    int // the process of the tree that holds the connection, 0 if none
}

// Ask sends "GET path" to addr ("host:port", or the path of a unix socket) on
// a connection of its own and returns the answer. With tr not nil and a TCP
// address it also finds out which process of tr gave it.
func Ask(ctx context.Context, tr *tree.Tree, addr, path string) (Answer, error) {
	a, err := ask(ctx, tr, addr, path)
	if err != nil {
		return Answer{}, fmt.Errorf("ask %s for %s: %w", addr, path, err)
	}
	return a, nil
}

func ask(ctx context.Context, tr *tree.Tree, addr, path string) (Answer, error) {
	network, host := "tcp", addr
	if strings.HasPrefix(addr, "/") {
		network, host = "unix", "localhost"
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return Answer{}, err
	}
	defer conn.Close()
	deadline, bounded := ctx.Deadline()
	if !bounded {
		deadline = time.Now().Add(5 * time.Second)
	}
	conn.SetDeadline(deadline)
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host); err != nil {
		return Answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return Answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: resp.StatusCode, Server: resp.Header.Get("Server"), Header: resp.Header, Body: string(body)}
	if tr == nil || network != "tcp" {
		return a, nil
	}
	holders, err := tr.Holders(conn) // the request was kept alive: the other end is still open
	if err == nil && len(holders) == 1 {
		a.PID = holders[0].PID
	}
	return a, err
}
