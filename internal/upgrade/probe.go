package upgrade

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probePatience bounds one probe.
const probePatience = 5 * time.Second

// probe asks each URL once, on a connection of its own: a kept one would always reach
// the same worker. A redirect counts as an answer.
func probe(ctx context.Context, urls []string) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for _, url := range urls {
		if err := probeOne(ctx, client, url); err != nil {
			return fmt.Errorf("probe %s: %w", url, err)
		}
	}
	return nil
}

func probeOne(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probePatience, fmt.Errorf("no whole answer within %v", probePatience))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "baton-probe")
	resp, err := client.Do(req)
	if err != nil {
		return causeOr(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answered with status %d", resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", causeOr(ctx, err))
	}
	return nil
}

// causeOr returns why ctx ended, if it did, else err.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
