package worker

// ballastSize is how much the collector of garbage takes for in use that is not. It
// runs when the heap has doubled, or at 4 MB, which a hundred TLS handshakes come to;
// so it runs when there are 16 MB of garbage, too, and costs a handshake an eighth less.
const ballastSize = 16 << 20

// newBallast returns memory that nobody touches. It counts as long as somebody holds it.
// At a worker's start the runtime gets it new from the kernel, and then it is none of the
// machine's; later the runtime might clear memory that was in use.
func newBallast() []byte { return make([]byte, ballastSize) }
