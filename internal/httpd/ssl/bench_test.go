package ssl_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"golang.org/x/sys/unix"
)

// clientVariable makes the test binary a client, so that what a benchmark counts is
// the server's alone.
const clientVariable = "BATON_BENCH_CLIENT"

func TestMain(m *testing.M) {
	if kind := os.Getenv(clientVariable); kind != "" {
		visitor(os.Args[1], kind)
		return
	}
	os.Exit(m.Run())
}

// visitor opens as many connections as a line says, some at once, asks for something
// on each, and tells how many were answered and how many sessions resumed.
func visitor(addr, kind string) {
	c := named("www.example.com")
	if strings.HasPrefix(kind, "X25519 ") { // what OpenSSL 3.0 offers
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	if strings.HasSuffix(kind, " resumed") {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, _ := strconv.Atoi(in.Text())
		var answered, resumed, begun atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for begun.Add(1) <= int64(n) {
					conn, err := tryDial(addr, c)
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, hostOf("a", "/"))
					if got, _ := io.ReadAll(conn); strings.HasPrefix(string(got), "HTTP/1.1 204") {
						answered.Add(1)
					}
					if conn.ConnectionState().DidResume {
						resumed.Add(1)
					}
					conn.Close()
				}
			})
		}
		all.Wait()
		fmt.Println(answered.Load(), resumed.Load())
	}
}

// cpuTime is what this process has used, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkHandshake is a connection with one small answer, as a server sees it.
func BenchmarkHandshake(b *testing.B) {
	a := newAuthorities(b)
	p := sidebyside.Start(b, certificate+`access_log off; server { listen ADDR ssl; location / { return 204; } }`, a.files())
	for _, kind := range []string{"X25519 new", "X25519 resumed", "X25519MLKEM768 new", "X25519MLKEM768 resumed"} {
		b.Run(kind, func(b *testing.B) {
			cmd := exec.Command(os.Args[0], p.Baton)
			cmd.Env = append(os.Environ(), clientVariable+"="+kind)
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			said := bufio.NewScanner(out)
			visit := func(n, resumed int) {
				fmt.Fprintln(in, n)
				if want := fmt.Sprint(n, resumed); !said.Scan() || said.Text() != want {
					b.Fatalf("%d connections: answered and resumed %q, want %q", n, said.Text(), want)
				}
			}
			visit(1, 0)
			resumed := 0
			if strings.HasSuffix(kind, " resumed") {
				resumed = b.N
			}
			b.ReportAllocs()
			before := cpuTime(b)
			b.ResetTimer()
			visit(b.N, resumed)
			b.StopTimer()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			in.Close()
			_ = cmd.Wait()
		})
	}
}
