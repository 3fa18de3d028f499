package load

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Count is what a group of clients has seen.
type Count struct {
	Sent     int            // requests sent, or tried to send, on an open connection
	Answered map[string]int // whole answers, by who gave them (see [Group.By])
	Wrong    int            // those of the answers that had another status or body than expected
	Lost     int            // requests sent that no whole answer came to

	// Lost, by what the client saw.
	LostFIN     int // connection closed before the answer's first byte
	LostRST     int // connection reset before the answer's first byte
	LostBroken  int // answer broken off after its first byte, or not HTTP
	LostTimeout int // no answer within [Group.Timeout]

	Connects   int // connections opened
	Reconnects int // those of them that replaced an earlier one of a keep-alive client
	Refused    int // connections refused by the kernel: nobody listened
	Unopened   int // connections that failed to open in any other way

	// What became of connections between two requests.
	Announced int // closed by "Connection: close" in the answer before: proper
	IdleFIN   int // closed although nothing had announced it
	IdleRST   int // reset although nothing had announced it
}

// Violations returns how often an idle connection was cut: invariant 3 says 0.
func (c Count) Violations() int { return c.IdleFIN + c.IdleRST }

// Failed returns everything a client of a perfect server would never see.
func (c Count) Failed() int {
	return c.Lost + c.Wrong + c.Refused + c.Unopened + c.Violations()
}

// Noticed returns everything by which a client could tell that a server was
// replaced: with live connections moved it is 0.
func (c Count) Noticed() int { return c.Failed() + c.Reconnects + c.Announced }

// Total returns the number of whole answers.
func (c Count) Total() (n int) {
	for _, answers := range c.Answered {
		n += answers
	}
	return n
}

// Check returns an error unless every request sent is accounted for once.
func (c Count) Check() error {
	if got := c.Total() + c.Lost; got != c.Sent {
		return fmt.Errorf("account for requests: %d sent, %d answered and %d lost", c.Sent, c.Total(), c.Lost)
	}
	if got := c.LostFIN + c.LostRST + c.LostBroken + c.LostTimeout; got != c.Lost {
		return fmt.Errorf("account for lost requests: %d by cause, %d in all", got, c.Lost)
	}
	return nil
}

// By returns who answered, in the order of their names.
func (c Count) By() []string { return slices.Sorted(maps.Keys(c.Answered)) }

func (c Count) clone() Count {
	c.Answered = maps.Clone(c.Answered)
	return c
}

// A Sample is one request that was answered.
type Sample struct {
	At   time.Duration // when it was sent, after the load began
	Took time.Duration // from its sending to the last byte received; of a split request its last piece counts
	By   string        // who answered
}

// A Failure is one thing that should not have happened.
type Failure struct {
	At   time.Duration // after the load began
	What string
	By   string // who had answered last on the connection, "" if nobody, or nobody asks
}

// maxFailures bounds how many failures a report keeps word for word; the
// counts go on.
const maxFailures = 20

// Quantile returns the latency that the fraction q of the samples did not
// exceed, 0 when there are none. q is from 0 to 1.
func Quantile(samples []Sample, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	took := make([]time.Duration, len(samples))
	for i, s := range samples {
		took[i] = s.Took
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(q*float64(len(took))))]
}
