package control

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// decode parses one message as it came, without its descriptors.
func decode(data []byte) (Message, error) {
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("decode message: %w", err)
	}
	if m.Kind == "" {
		return Message{}, errors.New("decode message: no kind")
	}
	if len(m.Names) > maxFiles {
		return Message{}, fmt.Errorf("decode message: %d names", len(m.Names))
	}
	return m, nil
}

// parseRights returns the descriptors of a control buffer.
func parseRights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control data: %w", err)
	}
	var fds []int
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // credentials or another kind we did not ask for
		}
		fds = append(fds, got...)
	}
	return fds, nil
}
