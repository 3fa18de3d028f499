package master

import (
	"testing"

	"github.com/baton-deploy/baton/internal/shm"
)

// What a variable says of the memory in which all workers count is taken when this release
// could have written it.
func TestStatsVariable(t *testing.T) {
	for passed, ok := range map[string]bool{
		formatStats(shm.TableVersion, 5, 0): true, formatStats(shm.TableVersion, 5, shm.HalfOfRows): true, "1:5:512": true,
		"": false, "5": false, "1:2:0": false, "1:x:0": false, "1:5:3": false, "1:5:-1": false, "2:5:0": false, "1:5:0:0": false,
	} {
		if fd, got := StatsDescriptor(passed); got != ok || ok && fd != 5 {
			t.Errorf("%q is descriptor %d, %v", passed, fd, got)
		}
	}
	table, err := openStats("1:9999:512", nil)
	if err != nil {
		t.Fatal(err)
	}
	if table.Other() != shm.HalfOfRows {
		t.Error("what was not passed was taken")
	}
	table.Close()
}
