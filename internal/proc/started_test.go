package proc

import (
	"os"
	"os/exec"
	"testing"
)

// A process keeps the moment of its start, and no other one of the same number has it.
func TestStarted(t *testing.T) {
	mine, err := Started(os.Getpid())
	if again, err2 := Started(os.Getpid()); err != nil || err2 != nil || mine == 0 || again != mine {
		t.Fatalf("started at %d, then %d: %v, %v", mine, again, err, err2)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if theirs, err := Started(child.Process.Pid); err != nil || theirs < mine {
		t.Errorf("a child was started at %d, before %d: %v", theirs, mine, err)
	}
	_ = child.Process.Kill()
	_ = child.Wait() // it was killed
	if at, err := Started(child.Process.Pid); err == nil {
		t.Errorf("a process that is gone was started at %d", at)
	}
}
