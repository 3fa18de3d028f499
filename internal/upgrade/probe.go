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
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "baton-probe")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answered with status %d", resp.StatusCode)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
