package httpd

// A statusName is what nginx calls a status: the reason phrase of the status line,
// and the title of the page when that is another one. Statuses that are not here
// have neither; their answers have no body.
type statusName struct{ reason, title string }

var statusNames = map[int]statusName{
	200: {reason: "OK"},
	201: {reason: "Created"},
	202: {reason: "Accepted"},
	204: {reason: "No Content"},
	206: {reason: "Partial Content"},
	301: {reason: "Moved Permanently"},
	302: {"Moved Temporarily", "Found"},
	303: {reason: "See Other"},
	304: {reason: "Not Modified"},
	307: {reason: "Temporary Redirect"},
	308: {reason: "Permanent Redirect"},
	400: {reason: "Bad Request"},
	401: {"Unauthorized", "Authorization Required"},
	402: {reason: "Payment Required"},
	403: {reason: "Forbidden"},
	404: {reason: "Not Found"},
	405: {reason: "Not Allowed"},
	406: {reason: "Not Acceptable"},
	408: {reason: "Request Time-out"},
	409: {reason: "Conflict"},
	410: {reason: "Gone"},
	411: {reason: "Length Required"},
	412: {reason: "Precondition Failed"},
	413: {reason: "Request Entity Too Large"},
	414: {reason: "Request-URI Too Large"},
	415: {reason: "Unsupported Media Type"},
	416: {reason: "Requested Range Not Satisfiable"},
	421: {reason: "Misdirected Request"},
	429: {reason: "Too Many Requests"},
	500: {reason: "Internal Server Error"},
	501: {reason: "Not Implemented"},
	502: {reason: "Bad Gateway"},
	503: {reason: "Service Temporarily Unavailable"},
	504: {reason: "Gateway Time-out"},
	505: {reason: "HTTP Version Not Supported"},
	507: {reason: "Insufficient Storage"},
}

// statusText is nginx's reason phrase, "" when it has none.
func statusText(code int) string {
	if code == 200 {
		return "OK"
	}
	return statusNames[code].reason
}

// Statuses that nginx uses inside: the client is sent 400, error_page may name
// them.
const (
	statusHeaderTooLarge = 494 // a header field that fits no buffer
	statusCertError      = 495
	statusNoCert         = 496
	statusToHTTPS        = 497
)

// badRequestNotes is what a page says for one of the inner statuses.
var badRequestNotes = map[int][2]string{
	statusHeaderTooLarge: {"Request Header Or Cookie Too Large", "Request Header Or Cookie Too Large"},
	statusCertError:      {"The SSL certificate error", "The SSL certificate error"},
	statusNoCert:         {"No required SSL certificate was sent", "No required SSL certificate was sent"},
	statusToHTTPS:        {"The plain HTTP request was sent to HTTPS port", "The plain HTTP request was sent to HTTPS port"},
}

// shownStatus is the status that a client is sent for one that nginx uses inside.
func shownStatus(status int) int {
	if status >= statusHeaderTooLarge && status <= statusToHTTPS {
		return 400
	}
	return status
}

// endsConnection reports whether nginx closes the connection after an answer with
// status, because it cannot know what the client sends next, or does not trust
// itself.
func endsConnection(status int) bool {
	switch shownStatus(status) {
	case 400, 413, 414, 500, 501:
		return true
	}
	return false
}

// endsSilently reports whether a status is only logged, and the connection closed
// without an answer.
func endsSilently(status int) bool { return status == 408 || status == 444 || status == 499 }
