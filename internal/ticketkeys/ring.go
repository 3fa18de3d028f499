// Package ticketkeys has the secret from which every process of a server makes the keys
// of TLS session tickets: the workers of all generations, before and after a reload,
// an upgrade or a roll-back, so that a client that comes back resumes its session
// whoever answers.
//
// Keys change with the time, and nobody has to tell anybody: each hour's secret is
// made from that of the hour before by a function that has no way back, and each
// process forgets those that are too old to be of use. So what is found in a process
// opens tickets of the last [Kept] hours and of the time to come, and none of before.
//
// It is below all, and knows nothing of TLS.
package ticketkeys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// Kept is how many hours a ticket can be read after the one in which it was made.
const Kept = 24

// period is how long a secret is used for new tickets.
const period = time.Hour

const secretSize = 32

// A Ring is the secrets that are of use now. Its methods may be called by any
// goroutine.
type Ring struct {
	mu      sync.Mutex
	first   int64 // the hour that secret belongs to
	secret  [secretSize]byte
	current int64 // the hour that Keys last was asked in
}

// New returns a Ring that nobody else has.
func New(now time.Time) *Ring {
	r := &Ring{first: hour(now) - Kept}
	_, _ = rand.Read(r.secret[:]) // crypto/rand never fails
	return r
}

func hour(now time.Time) int64 { return now.Unix() / int64(period/time.Second) }

// Hour is the number of the hour of now: when it is another one than before, Keys
// returns other keys. It does not go back when the clock does.
func (r *Ring) Hour(now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.advance(now)
}

// advance forgets what is too old. r.mu must be held.
func (r *Ring) advance(now time.Time) int64 {
	r.current = max(r.current, hour(now), r.first+Kept)
	for r.first+Kept < r.current {
		r.secret = next(r.secret)
		r.first++
	}
	return r.current
}

// next is the secret of the hour after that of secret.
func next(secret [secretSize]byte) (after [secretSize]byte) {
	copy(after[:], derive(secret, "next"))
	return after
}

// derive makes a key of a secret. It cannot fail: the length is one that HKDF has.
func derive(secret [secretSize]byte, purpose string) []byte {
	key, err := hkdf.Expand(sha256.New, secret[:], purpose, secretSize)
	if err != nil {
		panic("ticketkeys: " + err.Error())
	}
	return key
}

// Keys returns the keys for what purpose names, that of this hour first, then those
// of the hours before. Other purposes have other keys.
func (r *Ring) Keys(now time.Time, purpose string) [][32]byte {
	r.mu.Lock()
	r.advance(now)
	secret := r.secret
	r.mu.Unlock()
	keys := make([][32]byte, Kept+1)
	for i := Kept; i >= 0; i-- {
		copy(keys[i][:], derive(secret, "key "+purpose))
		secret = next(secret)
	}
	return keys
}

// Form in which a Ring goes to another process, which may be of another release:
//
//	"BTK", version 1, the hour in 8 bytes big-endian, its secret in 32 bytes
//
// What follows is for later versions.
const head = "BTK\x01"

// ErrForm is returned for what is no [Ring].
var ErrForm = errors.New("no ticket keys")

// Encode returns what [Decode] takes. It is secret.
func (r *Ring) Encode(now time.Time) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now)
	b := binary.BigEndian.AppendUint64([]byte(head), uint64(r.first))
	return append(b, r.secret[:]...)
}

// Decode returns the Ring that b is.
func Decode(b []byte) (*Ring, error) {
	b, ok := bytes.CutPrefix(b, []byte(head))
	if !ok || len(b) < 8+secretSize {
		return nil, ErrForm
	}
	r := &Ring{first: int64(binary.BigEndian.Uint64(b))}
	copy(r.secret[:], b[8:])
	if r.first < 0 {
		return nil, ErrForm
	}
	return r, nil
}
