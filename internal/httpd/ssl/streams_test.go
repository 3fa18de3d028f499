package ssl_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// Requests that come at once on one HTTP/2 connection are all judged by the one
// certificate that its client has shown.
func TestClientCertificateOfManyStreams(t *testing.T) {
	t.Parallel()
	a := newAuthorities(t)
	client := a.ca.Issue(testbed.Certificate{Name: "a client"})
	const place = `ssl_client_certificate ROOT/ca.crt; location / { return 200 "$server_name $ssl_client_verify $http2"; } } `
	p := sidebyside.Start(t, certificate+`
		server { listen ADDR ssl http2; server_name one; ssl_verify_client on; `+place+`
		server { listen ADDR ssl http2; server_name two; ssl_verify_client optional; `+place, a.files())
	config := named("") // so that either server may be asked
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{client.Cert.Raw}, PrivateKey: client.Key}}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	tr := &http.Transport{Protocols: &protocols, TLSClientConfig: config}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: patience}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			host := []string{"one", "two"}[i%2]
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+p.Baton+"/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Host = host
			resp, err := c.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != host+" SUCCESS h2" {
				t.Errorf("%s: %q, %v", host, got, err)
			}
		})
	}
	all.Wait()
}
