package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baton-deploy/baton/internal/errorlog"
)

// The time by rules is what the C library makes of them.
func TestTimeByRules(t *testing.T) {
	for _, tz := range []string{
		"CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "EST5EDT", "<+03>-3", "<-0330>3:30", "UTC0", "XYZ-5:45",
		"AEST-10AEDT,M10.1.0,M4.1.0/3", "IST-1GMT0,M10.5.0,M3.5.0/1",
	} {
		zone := zoneOfRules(tz)
		if zone == nil {
			if tz != "EST5EDT" && tz != "UTC0" { // the first is a zone's name, too
				t.Errorf("%s is not understood", tz)
			}
			continue
		}
		for _, at := range []int64{1768471200, 1784109600, 1774745999, 1774746001, 1792890000, 1793500000} {
			c := exec.Command("date", "-d", "@"+strconv.FormatInt(at, 10), "+%Y-%m-%d %H:%M:%S %z")
			c.Env = []string{"TZ=" + tz, "LC_ALL=C"}
			out, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Unix(at, 0).In(zone).Format("2006-01-02 15:04:05 -0700"); got != strings.TrimSpace(string(out)) {
				t.Errorf("%s: %d is %s, date says %s", tz, at, got, out)
			}
		}
	}
	for _, tz := range []string{"Europe/Berlin", "nonsense", "UTC", "a b", "CET-1CEST,nonsense"} {
		if zone := zoneOfRules(tz); zone != nil {
			t.Errorf("%s is taken for rules", tz)
		}
	}
}

// A log that is opened after the machine's zone has changed tells the time by the new one.
func TestZoneOfTheMachineChanges(t *testing.T) {
	t.Setenv("TZ", "")
	if err := os.Unsetenv("TZ"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "localtime")
	line := func() string {
		var b bytes.Buffer
		errorlog.NewIn(zoneNow(file), errorlog.NewOutput(&b, errorlog.Info)).Info("m")
		return b.String()[:len("2026/11/20 21")]
	}
	for _, name := range []string{"Asia/Kathmandu", "America/Caracas"} {
		data, err := os.ReadFile(filepath.Join("/usr/share/zoneinfo", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		zone, err := time.LoadLocationFromTZData(name, data)
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		got := line()
		const form = "2006/01/02 15"
		if got != before.In(zone).Format(form) && got != time.Now().In(zone).Format(form) {
			t.Errorf("%s: a line begins with %s at %v", name, got, before.In(zone))
		}
	}
}
