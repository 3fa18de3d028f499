package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/baton-deploy/baton/internal/testbed/tree"
)

// writeCertificate writes a certificate for an ECDSA key on P-256 into dir and
// returns the directives that name both.
func writeCertificate(dir string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	now := time.Now()
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	certFile, keyFile := filepath.Join(dir, "bench.crt"), filepath.Join(dir, "bench.key")
	if err := os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644); err != nil {
		return "", err
	}
	err = os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	return "ssl_certificate " + certFile + "; ssl_certificate_key " + keyFile + ";", err
}

// anyServer is for clients that do not ask who the server is: its certificate was made
// a moment ago.
func anyServer() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

var h2Line = regexp.MustCompile(`finished in [^,]+, ([0-9.]+) req/s`)
var h2Failed = regexp.MustCompile(`(\d+) failed, (\d+) errored, (\d+) timeout`)

// h2load is the loader of requests over HTTP/2: 8 connections with 32 streams each.
func h2load(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration) (float64, error) {
	out, err := runLoad(ctx, tr, "h2load", "-t1", "-c8", "-m32", "-D"+seconds(d), s.url(c))
	if err != nil {
		return 0, err
	}
	if m := h2Failed.FindString(out); m != "0 failed, 0 errored, 0 timeout" {
		return 0, fmt.Errorf("%s of %s: %s", c.name, s.name, m)
	}
	return readRate(h2Line, out)
}

func newHandshakes(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration) (float64, error) {
	return handshakes(ctx, tr, s, c, d)
}

func resumedHandshakes(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration) (float64, error) {
	return handshakes(ctx, tr, s, c, d, "-resume")
}

var handshakeLine = regexp.MustCompile(`([0-9.]+) handshakes/s`)

// handshakes is the loader that opens a connection for each request.
func handshakes(ctx context.Context, tr *tree.Tree, s *server, c benchCase, d time.Duration, more ...string) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := runLoad(ctx, tr, append([]string{self, "-handshakes", s.url(c), "-time", d.String()}, more...)...)
	if err != nil {
		return 0, err
	}
	return readRate(handshakeLine, out)
}

// shakers is how many connections are opened at a time.
const shakers = 32

// countHandshakes opens connections to address for d, with one request on each, and
// prints how many there were in a second.
func countHandshakes(ctx context.Context, address string, d time.Duration, resume bool, stdout, stderr io.Writer) int {
	to, err := url.Parse(address)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 2
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var count atomic.Int64
	failed := make(chan error, shakers)
	var all sync.WaitGroup
	began := time.Now()
	for range shakers {
		all.Go(func() {
			config := anyServer()
			config.MinVersion = tls.VersionTLS13
			// Go's client would offer a post-quantum exchange too. crypto/tls accepts it and
			// OpenSSL before 3.5 does not know it: the two would not be doing the same.
			config.CurvePreferences = []tls.CurveID{tls.X25519}
			if resume {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			}
			for first := true; ctx.Err() == nil; first = false {
				if err := shake(to, config, resume && !first); err != nil {
					failed <- err
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	select {
	case err := <-failed:
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	default:
	}
	fmt.Fprintf(stdout, "%.1f handshakes/s\n", float64(count.Load())/took.Seconds())
	return 0
}

// shake opens a connection, sends one request and takes its answer, and the session's
// ticket with it.
func shake(to *url.URL, config *tls.Config, resumed bool) error {
	nc, err := net.DialTimeout("tcp", to.Host, 5*time.Second)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	config.ServerName = "127.0.0.1"
	c := tls.Client(nc, config)
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", to.Path); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return errors.New(resp.Status)
	case c.ConnectionState().DidResume != resumed:
		return fmt.Errorf("session resumed: %v, want %v", !resumed, resumed)
	}
	return nil
}
