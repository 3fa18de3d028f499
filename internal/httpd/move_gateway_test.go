package httpd_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// passes are the ways to a server whose answers move, by name of the module: what
// stands before its address.
var passes = map[string]string{
	"proxy": "proxy_http_version 1.1; proxy_pass http://",
	"scgi":  "scgi_param REQUEST_URI $request_uri; scgi_param CONTENT_LENGTH $content_length; scgi_pass ",
	"uwsgi": "uwsgi_param REQUEST_URI $request_uri; uwsgi_param CONTENT_LENGTH $content_length; uwsgi_pass ",
}

// readAsked reads a request with its body, whatever it is spoken in, and returns its
// path. A server that ends with something unread resets its connection.
func readAsked(br *bufio.Reader) (path string, err error) {
	first, err := br.Peek(1)
	if err != nil {
		return "", err
	}
	var params map[string]string
	switch {
	case first[0] == 0:
		params, err = readPacket(br)
	case first[0] >= '0' && first[0] <= '9':
		params, err = readNetstring(br)
	default:
		req, err := http.ReadRequest(br)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(io.Discard, req.Body)
		return req.URL.Path, err
	}
	if err != nil {
		return "", err
	}
	n, _ := strconv.ParseInt(params["CONTENT_LENGTH"], 10, 64) // empty for none
	_, err = io.CopyN(io.Discard, br, n)
	return params["REQUEST_URI"], err
}

// readPacket reads the parameters of a uwsgi request.
func readPacket(br *bufio.Reader) (map[string]string, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(br, head); err != nil {
		return nil, err
	}
	b := make([]byte, binary.LittleEndian.Uint16(head[1:]))
	if _, err := io.ReadFull(br, b); err != nil {
		return nil, err
	}
	var texts []string
	for len(b) >= 2 {
		n := int(binary.LittleEndian.Uint16(b))
		if len(b) < 2+n {
			return nil, io.ErrUnexpectedEOF
		}
		texts, b = append(texts, string(b[2:2+n])), b[2+n:]
	}
	return pairs(texts)
}

// readNetstring reads the parameters of an SCGI request.
func readNetstring(br *bufio.Reader) (map[string]string, error) {
	size, err := br.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(size, ":"))
	if err != nil {
		return nil, err
	}
	b := make([]byte, n+1) // and the comma
	if _, err := io.ReadFull(br, b); err != nil {
		return nil, err
	}
	return pairs(strings.Split(strings.TrimSuffix(string(b), "\x00,"), "\x00"))
}

func pairs(texts []string) (map[string]string, error) {
	if len(texts)%2 != 0 {
		return nil, errors.New("a parameter without a value")
	}
	m := map[string]string{}
	for i := 0; i < len(texts); i += 2 {
		m[texts[i]] = texts[i+1]
	}
	return m, nil
}

// What the log says of an answer over SCGI or uwsgi is the same after a move, too.
func TestVariablesOfGatewaysAreTheSameAfterAMove(t *testing.T) {
	t.Parallel()
	for _, module := range []string{"scgi", "uwsgi"} {
		for _, path := range []string{"/length", "/close"} {
			more := make(chan struct{})
			defer close(more)
			wantSameVariables(t, "root /nowhere; location / { "+passes[module]+halves(t, more)+"; }",
				fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", path), streamed(more))
		}
	}
}
