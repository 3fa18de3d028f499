package upgrade

import (
	"os"
	"path/filepath"
	"testing"
)

// The tightest limit counts, wherever above the process it is set and by whichever
// version of control groups, and pages of files are not what is missing.
func TestMemoryLimits(t *testing.T) {
	const mb = "000000"
	for _, tt := range []struct {
		name, cgroup string
		files        map[string]string
		want         uint64 // in MB; 0: no limit
	}{
		{"version 2", "0::/system.slice/web.service\n", map[string]string{
			"system.slice/web.service/memory.max":     "100" + mb,
			"system.slice/web.service/memory.current": "80" + mb,
			"system.slice/web.service/memory.stat":    "anon 1\ninactive_file 30" + mb + "\n",
		}, 50},
		{"a limit above", "0::/a/b\n", map[string]string{
			"a/b/memory.max": "max", "a/b/memory.current": "1" + mb,
			"a/memory.max": "40" + mb, "a/memory.current": "30" + mb,
		}, 10},
		{"version 1", "4:cpu,memory:/docker/x\n0::/\n", map[string]string{
			"memory/docker/x/memory.limit_in_bytes": "64" + mb,
			"memory/docker/x/memory.usage_in_bytes": "60" + mb,
			"memory/docker/x/memory.stat":           "total_inactive_file 3" + mb + "\n",
			"memory/memory.limit_in_bytes":          "9223372036854771712",
			"memory/memory.usage_in_bytes":          "1",
		}, 7},
		{"a container's own mount", "0::/docker/x\n", map[string]string{"memory.max": "9" + mb, "memory.current": "4" + mb}, 5},
		{"more used than allowed", "0::/\n", map[string]string{"memory.max": "9" + mb, "memory.current": "10" + mb}, 0},
		{"none", "3:cpu:/x\n0::/\nnonsense\n", map[string]string{"memory.max": "max", "cpu/x/memory.max": "1"}, 1 << 40},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			least := uint64(1<<40) * 1000000
			for _, g := range memoryGroups(root, tt.cgroup) {
				if left, ok := g.free(); ok {
					least = min(least, left)
				}
			}
			if least/1000000 != tt.want {
				t.Errorf("%d MB are free, want %d", least/1000000, tt.want)
			}
		})
	}
}
