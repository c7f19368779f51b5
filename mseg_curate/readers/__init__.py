"""One module per format of input; each turns files into plain values and writes nothing."""
