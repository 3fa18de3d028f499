package limitreq_test

import (
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/conf"
	"github.com/baton-deploy/baton/internal/httpd/limitreq"
	"github.com/baton-deploy/baton/internal/httpd/sidebyside"
)

// Requests are counted, refused and logged as by nginx. The rate is so low that the time
// which the test takes makes no difference of a whole request.
func TestLimitsAsNginx(t *testing.T) {
	t.Parallel()
	p := sidebyside.Start(t, `
limit_req_zone $arg_k zone=one:64k rate=1r/m;
limit_req_zone $arg_k$arg_two zone=two:64k rate=1r/m;
limit_req_zone $arg_k zone=fast:64k rate=100000r/s;
limit_req_zone "static" zone=static:64k rate=1r/m;
log_format status "$uri $status $limit_req_status";
access_log logs/access.log status;
server {
	listen ADDR; root ROOT;
	add_header X-Limit "[$limit_req_status]" always;
	location /one { limit_req zone=one; }
	location /burst { limit_req zone=one burst=2 nodelay; }
	location /delay { limit_req zone=one burst=4 delay=2; limit_req_dry_run on; limit_req_log_level notice; }
	location /both { limit_req zone=one burst=2 nodelay; limit_req zone=two burst=1 nodelay; limit_req_status 429; }
	location /static { limit_req zone=static; limit_req_status 599; error_page 599 /one/page; }
	location /fast { limit_req zone=fast burst=1000; }
	location /dry { limit_req zone=one; limit_req_dry_run on; }
	location /redirected { limit_req zone=one burst=1 nodelay; try_files /none /one/page?k=redirected; }
	location /denied { limit_req zone=one; deny all; }
	location /returned { limit_req zone=one; return 204; }
	location /none { }
	location /inner { limit_req zone=one; location /inner/other { limit_req zone=two; } location /inner/same { limit_req_status 444; } }
}`, sidebyside.Files{
		"one/page": "page", "burst": "burst", "delay": "delay", "both": "both", "static": "static", "fast": "fast", "dry": "dry",
		"denied": "denied", "none": "none", "inner/page": "inner", "inner/other/page": "other", "inner/same/page": "same",
	})
	for _, target := range []string{
		"/one/page?k=a", "/one/page?k=a", "/one/page?k=b", "/one/page", "/one/page", "/one/none?k=missing", "/one/none?k=missing",
		"/burst?k=c", "/burst?k=c", "/burst?k=c", "/burst?k=c", "/one/page?k=c",
		"/delay?k=d", "/delay?k=d", "/delay?k=d", "/delay?k=d", "/delay?k=d", "/delay?k=d",
		"/both?k=e", "/both?k=e", "/both?k=e", "/both?k=e&two=x", "/both?k=e&two=y", "/both?two=z", "/both?two=z", "/both?two=z", "/both",
		"/static", "/static", "/static", "/fast?k=f", "/fast?k=f", "/fast?k=f",
		"/dry?k=g", "/dry?k=g", "/one/page?k=g", "/redirected?k=h", "/redirected?k=h", "/redirected?k=h",
		"/denied?k=i", "/denied?k=i", "/returned?k=j", "/returned?k=j", "/none?k=a",
		"/inner/page?k=l", "/inner/page?k=l", "/inner/other/page?k=l", "/inner/other/page?k=l", "/inner/same/page?k=l",
		"/one/page?k=" + strings.Repeat("long", 100), "/one/page?k=" + strings.Repeat("long", 100),
	} {
		p.Same(sidebyside.Get(target))
	}
	p.SameLogs("logs/access.log", regexp.MustCompile(`.`))
	// Without the thousandths, which the time takes.
	nginx, baton := p.Logs("logs/error.log")
	line := regexp.MustCompile(`\[\w+\] .*(limiting|delaying) request.*`)
	number, address := regexp.MustCompile(`\d+#\d+: \*\d+|excess: \d+\.\d+`), regexp.MustCompile(`127\.0\.0\.\d+(:\d+)?`)
	form := func(text string) string {
		all := strings.Join(line.FindAllString(text, -1), "\n")
		return address.ReplaceAllString(number.ReplaceAllString(all, "N"), "A")
	}
	if form(nginx) != form(baton) || form(nginx) == "" {
		t.Errorf("nginx:\n%s\nbaton:\n%s", form(nginx), form(baton))
	}
}

// A request above the rate waits for its turn, and is not served when its client leaves.
func TestDelay(t *testing.T) {
	t.Parallel()
	p := sidebyside.StartAlone(t, `
limit_req_zone $arg_k zone=one:64k rate=4r/s;
limit_req_zone $arg_k zone=slow:64k rate=1r/m;
log_format status "$uri $status $limit_req_status";
access_log logs/access.log status;
server {
	listen ADDR; root ROOT; add_header X-Limit $limit_req_status;
	location /page { limit_req zone=one burst=100; }
	location /slow { limit_req zone=slow burst=100; }
}`, sidebyside.Files{"page": "page", "slow": "slow"})
	began := time.Now()
	for i, want := range []string{"PASSED", "DELAYED", "DELAYED"} {
		a := p.DoBaton(sidebyside.Get("/page?k=x"))
		if a.Code() != "200" || a.Field("X-Limit") != want && !(i > 0 && time.Since(began) > 250*time.Millisecond) {
			t.Errorf("answer %d is %s %s", i, a.Code(), a.Field("X-Limit"))
		}
	}
	// Whatever the machine did, three requests at four a second take half a second.
	if d := time.Since(began); d < 490*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	p.DoBaton(sidebyside.Get("/slow?k=x"))
	c, err := net.Dial("tcp", p.Baton)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(sidebyside.Get("/slow?k=x"))); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if !p.WaitLogs("logs/access.log", func(_, log string) bool { return strings.Contains(log, "/slow 499 DELAYED") }) {
		t.Fatal("a client that has left is still waited for")
	}
}

// Values that nginx takes and refuses.
func TestValuesAreChecked(t *testing.T) {
	t.Parallel()
	specs := map[string]conf.Spec{}
	for _, s := range limitreq.Module().Directives {
		specs[s.Name] = s
	}
	for text, want := range map[string]string{
		"limit_req_zone $x zone=a:32k rate=1r/s":                 "",
		"limit_req_zone $x rate=1r/m zone=a:1m":                  "",
		"limit_req_zone $x zone=a:1m rate=5":                     "",
		"limit_req_zone $x zone=a:31k rate=1r/s":                 `zone "zone=a:31k" is too small`,
		"limit_req_zone $x zone=a rate=1r/s":                     `invalid zone size "zone=a"`,
		"limit_req_zone $x zone=a:x rate=1r/s":                   `invalid zone size "zone=a:x"`,
		"limit_req_zone $x zone=a:1g rate=1r/s":                  `invalid zone size "zone=a:1g"`,
		"limit_req_zone $x zone=:1m rate=1r/s":                   `"limit_req_zone" must have "zone" parameter`,
		"limit_req_zone $x rate=1r/s rate=1r/s":                  `"limit_req_zone" must have "zone" parameter`,
		"limit_req_zone $x zone=a:1m rate=0r/s":                  `invalid rate "rate=0r/s"`,
		"limit_req_zone $x zone=a:1m rate=r/s":                   `invalid rate "rate=r/s"`,
		"limit_req_zone $x zone=a:1m rate=1r/h":                  `invalid rate "rate=1r/h"`,
		"limit_req_zone $x zone=a:1m rates=1":                    `invalid parameter "rates=1"`,
		"limit_req_zone $x zone=a:1m rate=922337203685477580r/m": "",
		"limit_req zone=a":                                       "",
		"limit_req zone=a burst=5 nodelay":                       "",
		"limit_req zone=a burst=5 delay=3":                       "",
		"limit_req burst=5":                                      `"limit_req" must have "zone" parameter`,
		"limit_req zone=a burst=0":                               `invalid burst value "burst=0"`,
		"limit_req zone=a burst=-1":                              `invalid burst value "burst=-1"`,
		"limit_req zone=a delay=0":                               `invalid delay value "delay=0"`,
		"limit_req zone=a nodelays":                              `invalid parameter "nodelays"`,
		"limit_req_status 399":                                   "value must be between 400 and 599",
		"limit_req_status 600":                                   "value must be between 400 and 599",
		"limit_req_status x":                                     `"limit_req_status" directive invalid number`,
		"limit_req_status 429":                                   "",
		"limit_req_log_level crit":                               `invalid value "crit"`,
		"limit_req_log_level info":                               "",
	} {
		words := strings.Fields(text)
		got := ""
		if err := specs[words[0]].Check(&conf.Directive{Name: words[0], Args: words[1:]}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
