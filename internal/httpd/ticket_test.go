package httpd

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/bufpool"
	"github.com/google/go-cmp/cmp"
)

// tickets has one of each kind, with every field set that the kind has.
func tickets() []*ticket {
	return []*ticket{
		{
			kind: ticketWaiting, number: 300, served: 2, age: time.Second, timeout: 75 * time.Second,
			waited: 3 * time.Millisecond, listen: "0.0.0.0:80", input: []byte("GET / HT"),
		},
		{
			kind: ticketFile, number: 1, served: 1, listen: "unix:/run/x.sock", head: []byte("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
			uri: []byte("/b"), args: []byte("x=1"), named: "@n", started: time.Millisecond, status: 206, headBytes: 240,
			wire: 5000, body: 5000, readBytes: 28, offset: 5000, left: 1 << 32, keep: true,
			fields: []Field{{"Content-Type", []byte("text/plain")}, {"X-Empty", []byte{}}},
		},
		{
			kind: ticketTunnel, listen: "[::]:80", head: []byte("GET /ws HTTP/1.1\r\n\r\n"), status: 101,
			toClient: []byte{0x81, 1, 'a'}, modules: []Field{{"ngx_http_upstream_module", []byte("{}")}}, timeout: time.Minute,
			input: []byte{0x82}, sendTimeout: time.Second, clientTimeout: 2 * time.Second,
		},
		{
			kind: ticketStream, listen: "*:80", head: []byte("GET /events HTTP/1.1\r\n\r\n"), status: 200, chunked: true,
			framing: framedChunks, chunkState: uint64(chunkData), left: 7, toClient: []byte("data"), keep: true,
		},
		{
			kind: ticketFile, listen: "*:80", head: []byte("GET / HTTP/1.0\r\n\r\n"), status: 200, left: 9,
			rate: 65536, sets: []Field{{"colour", []byte("blue")}},
		},
		{
			kind: ticketSpool, listen: "*:80", head: []byte("GET /big HTTP/1.1\r\n\r\n"), status: 200, keep: true, chunked: true,
			framing: framedLength, left: 1 << 30, timeout: time.Minute, toClient: []byte("read"), owed: []byte("4\r\nsent\r"),
			offset: 4096, spooled: 1 << 20, memory: 32 << 10, fileSize: 1 << 30, fileWrite: 8192,
			tempPath: []byte("/var/tmp/proxy\x00\x01\x02\x00"),
		},
		{
			kind: ticketSpool, listen: "*:80", head: []byte("GET /big HTTP/1.0\r\n\r\n"), status: 200,
			framing: framedWhole, owed: []byte("the end"),
		},
		{kind: ticketWaiting, listen: "*:80", peer: netip.MustParseAddrPort("192.0.2.1:80")},
		{kind: ticketFile, listen: "[::]:80", peer: netip.MustParseAddrPort("[2001:db8::1]:65535"), head: []byte("GET / HTTP/1.0\r\n\r\n"), status: 200, left: 9},
		{
			kind: ticketFile, listen: "*:80", head: []byte("GET /a HTTP/1.0\r\n\r\n"), uri: []byte("/b"), status: 200, left: 9,
			chosenBy: []byte("/a"), block: 2,
		},
		{
			kind: ticketStream, listen: "*:80", head: []byte("GET / HTTP/1.1\r\n\r\n"), status: 200, framing: framedClose,
			ignoreAbort: true,
		},
	}
}

// How many descriptors come with a ticket is told by its kind and its fields.
func TestTicketsTellTheirDescriptors(t *testing.T) {
	var got [][2]int
	for _, tk := range tickets() {
		got = append(got, [2]int{tk.sockets(), tk.files()})
	}
	if diff := cmp.Diff([][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 0}, {0, 1}, {1, 1}, {0, 0}, {0, 0}, {0, 1}, {0, 1}, {1, 0}}, got); diff != "" {
		t.Errorf("sockets and files besides the client's (-want +got):\n%s", diff)
	}
}

// What a ticket says of keeping an answer is what the server keeps by.
func TestSpoolConfTravels(t *testing.T) {
	want := &SpoolConf{Memory: 1, File: 2, Write: bufpool.Page, Temp: TempPath{Dir: "/t", Levels: [3]uint8{1, 2, 0}}}
	var tk ticket
	tk.setSpoolConf(want)
	if diff := cmp.Diff(want, tk.spoolConf()); diff != "" {
		t.Error(diff)
	}
	if got := new(ticket).spoolConf(); got != nil {
		t.Errorf("without any: %+v", got)
	}
}

func TestTicketsAreReadAsWritten(t *testing.T) {
	for _, want := range tickets() {
		got, err := parseTicket(want.kind, want.append(nil))
		if err != nil {
			t.Errorf("kind %d: %v", want.kind, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(ticket{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Errorf("kind %d (-written +read):\n%s", want.kind, diff)
		}
	}
}

// Bytes that a released version writes never change: the release before and the
// one after read them.
func TestTicketWireFormVersion1(t *testing.T) {
	var got strings.Builder
	for _, tk := range tickets() {
		got.WriteString(hex.EncodeToString(tk.append(nil)) + "\n")
	}
	want, err := os.ReadFile("testdata/tickets_v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// Invariant 6: what a newer peer adds and may be left out is skipped; what may not
// be left out is refused, and the connection stays where it is.
func TestTicketOfALaterVersion(t *testing.T) {
	base := tickets()[0].append(nil)
	if _, err := parseTicket(ticketWaiting, append(base[:len(base):len(base)], 100, 2, 'x', 'y')); err != nil {
		t.Errorf("an unknown field that may be skipped: %v", err)
	}
	for name, b := range map[string][]byte{
		"critical field":  append(base[:len(base):len(base)], 200, 1, 'x'),
		"length too long": append(base[:len(base):len(base)], 100, 9, 'x'),
		"cut":             base[:len(base)-1],
		"no listen":       {tagNumber, 1, 1},
		"no address":      append(base[:len(base):len(base)], tagPeer, 1, '1'),
		"wide number":     append(base[:len(base):len(base)], tagServed, 2, 1, 1),
	} {
		if _, err := parseTicket(ticketWaiting, b); !errors.Is(err, ErrTicket) {
			t.Errorf("%s: error %v, want ErrTicket", name, err)
		}
	}
	if _, err := parseTicket(6, base); !errors.Is(err, ErrTicket) {
		t.Errorf("kind 6: error %v, want ErrTicket", err)
	}
}

func FuzzParseTicket(f *testing.F) {
	for _, tk := range tickets() {
		f.Add(tk.kind, tk.append(nil))
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		tk, err := parseTicket(kind, b)
		if err != nil {
			if !errors.Is(err, ErrTicket) {
				t.Errorf("error %v does not wrap ErrTicket", err)
			}
			return
		}
		if _, err := parseTicket(kind, tk.append(nil)); err != nil {
			t.Errorf("what was read and written again is refused: %v", err)
		}
	})
}
