package access_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
	"github.com/baton-deploy/baton/internal/testbed"
)

// Of a client that comes by IPv4 to a socket of IPv6 the rules for IPv4 are asked, and
// those for IPv6 where there are no others: a deny of ::/0 is about it, too.
func TestRulesJudgeMappedAddressesAsNginx(t *testing.T) {
	t.Parallel()
	port, err := testbed.TakePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)
	p := sidebyside.Start(t, fmt.Sprintf(`
server {
	listen ADDR; listen [::ffff:IP]:%d ipv6only=off; root ROOT;
	location /v4 { deny 127.0.0.0/8; }
	location /v6 { deny ::/0; }
	location /mapped { deny ::ffff:127.0.0.0/104; }
	location /mapped-host { allow ::ffff:127.0.0.1; deny ::ffff:0:0/96; }
	location /unix { allow unix:; deny ::/0; }
	location /both { allow 10.0.0.0/8; deny ::/0; }
	location /all { deny ::/0; allow all; }
	location /only { allow ::1; deny all; }
}`, port.Number), sidebyside.Files{
		"v4": "v4", "v6": "v6", "mapped": "mapped", "mapped-host": "host", "unix": "unix", "both": "both", "all": "all", "only": "only",
	})
	for _, mapped := range []bool{false, true} {
		if mapped {
			for _, addr := range []*string{&p.Nginx, &p.Baton} {
				ip, _, _ := net.SplitHostPort(*addr)
				*addr = net.JoinHostPort(ip, strconv.Itoa(port.Number))
			}
		}
		for _, target := range []string{"/v4", "/v6", "/mapped", "/mapped-host", "/unix", "/both", "/all", "/only"} {
			p.Same(sidebyside.Get(target))
		}
	}
}
