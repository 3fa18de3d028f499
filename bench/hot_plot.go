package main

import (
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/baton-deploy/baton/internal/testbed/load"
)

// Files of the two pictures, beside the one that the tables go into.
const (
	latencyFile = "hot-latency.svg"
	lostFile    = "hot-lost.svg"
)

// Colours that colour-blind readers can tell apart (Okabe and Ito).
var (
	blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	orange = color.RGBA{0xe6, 0x9f, 0x00, 0xff}
	grey   = color.RGBA{0x99, 0x99, 0x99, 0xff}
)

// draw draws both pictures into folder dir.
func (r *report) draw(dir string) error {
	if err := r.drawLatency(filepath.Join(dir, latencyFile)); err != nil {
		return err
	}
	return r.drawLost(filepath.Join(dir, lostFile))
}

// lowest is where the axis of latencies begins, in milliseconds.
const lowest = 0.05

// bucket is one point of a line: what was sent in this time is taken together.
const bucket = 20 * time.Millisecond

// lines are the median and the maximum of every bucket, in milliseconds over
// seconds from the switch.
func lines(samples []load.Sample) (median, most plotter.XYs) {
	byTime := map[time.Duration][]load.Sample{}
	for _, s := range samples {
		at := s.At.Truncate(bucket)
		byTime[at] = append(byTime[at], s)
	}
	var times []time.Duration
	for at := range byTime {
		times = append(times, at)
	}
	slices.Sort(times)
	for _, at := range times {
		median = append(median, plotter.XY{X: at.Seconds(), Y: milliseconds(load.Quantile(byTime[at], 0.5))})
		most = append(most, plotter.XY{X: at.Seconds(), Y: milliseconds(load.Quantile(byTime[at], 1))})
	}
	return median, most
}

// drawLatency draws a strip for each server, all with the same axes.
func (r *report) drawLatency(file string) error {
	var strips [][]*plot.Plot
	highest := 1.0
	for _, row := range r.hotRows {
		for _, s := range row.timeline {
			highest = max(highest, milliseconds(s.Took))
		}
	}
	for i, row := range r.hotRows {
		p := plot.New()
		p.Title.Text = row.name + ", " + row.how
		p.Y.Label.Text = "ms"
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = -2, 2, lowest, highest*1.5
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		if i == len(r.hotRows)-1 {
			p.X.Label.Text = "seconds from the moment that the old server is told to go"
		}
		median, most := lines(row.timeline)
		for _, l := range []struct {
			name   string
			points plotter.XYs
			colour color.Color
		}{{"slowest request of 20 ms", most, orange}, {"median", median, blue}, {"", plotter.XYs{{X: 0, Y: lowest}, {X: 0, Y: highest * 1.5}}, grey}} {
			if len(l.points) == 0 {
				continue
			}
			line, err := plotter.NewLine(l.points)
			if err != nil {
				return err
			}
			line.Color = l.colour
			p.Add(line)
			if l.name != "" && i == 0 {
				p.Legend.Add(l.name, line)
			}
		}
		p.Legend.Top, p.Legend.Left = true, true
		strips = append(strips, []*plot.Plot{p})
	}
	canvas := vgsvg.New(8*vg.Inch, vg.Length(len(strips))*2*vg.Inch)
	tiles := draw.Tiles{Rows: len(strips), Cols: 1, PadY: 4 * vg.Millimeter}
	for i, row := range plot.Align(strips, tiles, inset(canvas)) {
		strips[i][0].Draw(row[0])
	}
	return writeSVG(canvas, file)
}

// inset is a canvas with a margin.
func inset(canvas *vgsvg.Canvas) draw.Canvas {
	const margin = 5 * vg.Millimeter
	return draw.Crop(draw.New(canvas), margin, -margin, margin, -margin)
}

// drawLost draws what became of requests and connections, server by server.
func (r *report) drawLost(file string) error {
	p := plot.New()
	p.Title.Text = "200 keep-alive clients, the server replaced once"
	p.Y.Label.Text = "mean of the rounds"
	p.Y.Min = 0
	var ticks plot.ConstantTicks
	for n := 0; n <= postClients; n += 50 {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: strconv.Itoa(n)})
	}
	p.Y.Tick.Marker = ticks
	var names []string
	var lost, cut, again plotter.Values
	for _, row := range r.hotRows {
		rounds := float64(max(1, row.sockets/heldSockets))
		names = append(names, row.name)
		lost = append(lost, float64(row.lost())/rounds)
		cut = append(cut, float64(row.count.Violations())/rounds)
		again = append(again, float64(row.count.Reconnects)/rounds)
	}
	width := vg.Points(18)
	for i, bar := range []struct {
		name   string
		values plotter.Values
		colour color.Color
	}{{"requests lost", lost, orange}, {"connections cut while idle", cut, grey}, {"connections opened again", again, blue}} {
		chart, err := plotter.NewBarChart(bar.values, width)
		if err != nil {
			return err
		}
		chart.Color, chart.LineStyle.Width = bar.colour, 0
		chart.Offset = width * vg.Length(i-1)
		p.Add(chart)
		p.Legend.Add(bar.name, chart)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Y.Max = 1.35 * max(1, p.Y.Max)
	p.NominalX(names...)
	canvas := vgsvg.New(7*vg.Inch, 4*vg.Inch)
	p.Draw(inset(canvas))
	return writeSVG(canvas, file)
}

func writeSVG(canvas *vgsvg.Canvas, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(out); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
