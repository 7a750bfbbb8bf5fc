package console

import (
	"fmt"
	"math"

	"example.org/breakwater/cmd/internal/status"
	"example.org/breakwater/proxy/operator"
)

// The drawing of who reaches whom, in its own units.
const (
	graphWidth, graphHeight = 440.0, 300.0
	nodeWidth, nodeHeight   = 104.0, 46.0
	apart                   = 5.0 // of the two ways between the same two
)

// graph is who reaches whom: a node a datacenter, and a way for each that one of them says
// something of.
type graph struct {
	Width, Height float64
	Nodes         []graphNode
	Ways          []graphWay
	Says          string // for who does not see it
}

type graphNode struct {
	Name, Note, Class string
	X, Y              float64 // the middle
	Left, Top         float64
	Width, Height     float64
}

type graphWay struct {
	From, To, Class string // ok, wrong or ""
	Says            string
	Line, Head      string  // paths
	X, Y            float64 // its middle, where what is wrong is marked
}

// graphOf draws the datacenters on an ellipse, in the order of the fleet file.
func graphOf(f *status.Fleet) graph {
	g := graph{Width: graphWidth}
	at := map[string]int{}
	for i, d := range f.Datacenters {
		angle := -math.Pi/2 + 2*math.Pi*float64(i)/float64(len(f.Datacenters))
		if len(f.Datacenters) == 2 {
			angle += math.Pi / 2
		}
		n := graphNode{Name: d.Name, Note: d.Role, Class: "ok", Width: nodeWidth, Height: nodeHeight}
		if d.Named.Of > 0 {
			n.Note = fmt.Sprintf("%d of %d networks", d.Named.Count, d.Named.Of)
		}
		n.X = round(graphWidth/2 + (graphWidth-nodeWidth-20)/2*math.Cos(angle))
		n.Y = round(graphHeight/2 + (graphHeight-nodeHeight-20)/2*math.Sin(angle))
		n.Left, n.Top = n.X-nodeWidth/2, n.Y-nodeHeight/2
		if len(f.Datacenters) == 1 {
			n.X, n.Y, n.Left, n.Top = graphWidth/2, graphHeight/2, (graphWidth-nodeWidth)/2, (graphHeight-nodeHeight)/2
		}
		if !answersAtAll(d) {
			n.Class = "wrong"
		}
		at[d.Name] = i
		g.Nodes = append(g.Nodes, n)
	}
	for _, n := range g.Nodes {
		g.Height = max(g.Height, n.Top+nodeHeight+10)
	}
	ok, wrong := 0, 0
	for _, d := range f.Datacenters {
		for _, p := range peersOf(d) {
			to, known := at[p.Datacenter]
			if !known || p.Datacenter == d.Name {
				continue
			}
			w := way(g.Nodes[at[d.Name]], g.Nodes[to])
			if w.Class, w.Says = peerClass(p.State), peerText(p); w.Class == "ok" {
				ok++
			} else if w.Class == "wrong" {
				wrong++
			}
			g.Ways = append(g.Ways, w)
		}
	}
	g.Says = fmt.Sprintf("Who reaches whom: of %d ways between edges %d work and %d do not. The same is in the table below.", len(g.Ways), ok, wrong)
	return g
}

func answersAtAll(d status.Datacenter) bool {
	for _, e := range d.Edges {
		if e.Report != nil || e.Health != nil {
			return true
		}
	}
	return false
}

// peersOf is how a datacenter's edges see the others: the worst that one of them says.
func peersOf(d status.Datacenter) (all []operator.Peer) {
	at := map[string]int{}
	for _, e := range d.Edges {
		if e.Report == nil {
			continue
		}
		for _, p := range e.Report.Peers {
			i, seen := at[p.Datacenter]
			switch {
			case !seen:
				at[p.Datacenter] = len(all)
				all = append(all, p)
			case peerClass(p.State) == "wrong":
				all[i] = p
			}
		}
	}
	return all
}

// way is the line from the border of one node to that of another, beside the one back.
func way(from, to graphNode) graphWay {
	dx, dy := to.X-from.X, to.Y-from.Y
	length := math.Hypot(dx, dy)
	ux, uy := dx/length, dy/length
	sx, sy := -uy*apart, ux*apart
	border := func() float64 { // from the middle of a node to its border, and a little more
		return min(nodeWidth/2/max(math.Abs(ux), 1e-9), nodeHeight/2/max(math.Abs(uy), 1e-9)) + 7
	}
	x1, y1 := from.X+ux*border()+sx, from.Y+uy*border()+sy
	x2, y2 := to.X-ux*border()+sx, to.Y-uy*border()+sy
	w := graphWay{From: from.Name, To: to.Name, X: round((x1 + x2) / 2), Y: round((y1 + y2) / 2)}
	w.Line = fmt.Sprintf("M%.1f %.1fL%.1f %.1f", x1, y1, x2-ux*5, y2-uy*5)
	bx, by := x2-ux*8, y2-uy*8
	w.Head = fmt.Sprintf("M%.1f %.1fL%.1f %.1fL%.1f %.1fZ", x2, y2, bx-uy*4, by+ux*4, bx+uy*4, by-ux*4)
	return w
}

func round(f float64) float64 { return math.Round(f*10) / 10 }
