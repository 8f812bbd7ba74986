"""What the deciding floors and the programs ask of the outside, one or two methods each."""
