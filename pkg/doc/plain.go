package doc

// PlainText is how a scalar is written where there is no syntax around it, as in
// an environment variable; null is empty.
func PlainText(n *Node) string { return envScalar(n.Type, n.Text) }
