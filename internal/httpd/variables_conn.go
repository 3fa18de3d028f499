package httpd

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// connVariables tell of the connection and its two ends.
func connVariables() map[string]Variable {
	return map[string]Variable{
		"remote_addr": func(r *Request, _ string, dst []byte) ([]byte, bool) { return append(dst, r.RemoteAddr()...), true },
		"remote_port": func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.c.peer.AppendPort(dst), true },
		"binary_remote_addr": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return r.c.peer.AppendBinary(dst), true
		},
		"server_addr": func(r *Request, _ string, dst []byte) ([]byte, bool) { return append(dst, r.c.local().Text()...), true },
		"server_port": func(r *Request, _ string, dst []byte) ([]byte, bool) { return r.c.local().AppendPort(dst), true },
		"connection": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendUint(dst, r.c.number, 10), true
		},
		"connection_requests": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			return strconv.AppendInt(dst, int64(r.c.served), 10), true
		},
		"pipe": func(r *Request, _ string, dst []byte) ([]byte, bool) {
			if r.pipelined {
				return append(dst, 'p'), true
			}
			return append(dst, '.'), true
		},
		"tcpinfo_rtt":       tcpVariable(func(i *unix.TCPInfo) uint32 { return i.Rtt }),
		"tcpinfo_rttvar":    tcpVariable(func(i *unix.TCPInfo) uint32 { return i.Rttvar }),
		"tcpinfo_snd_cwnd":  tcpVariable(func(i *unix.TCPInfo) uint32 { return i.Snd_cwnd }),
		"tcpinfo_rcv_space": tcpVariable(func(i *unix.TCPInfo) uint32 { return i.Rcv_space }),
	}
}

// tcpVariable is one of the numbers that the kernel keeps of a TCP connection.
func tcpVariable(get func(*unix.TCPInfo) uint32) Variable {
	return func(r *Request, _ string, dst []byte) ([]byte, bool) {
		var info *unix.TCPInfo
		err := r.c.Raw.Control(func(fd uintptr) {
			info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		})
		if err != nil || info == nil {
			return dst, false
		}
		return strconv.AppendUint(dst, uint64(get(info)), 10), true
	}
}
