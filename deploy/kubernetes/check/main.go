// Command check renders Kustomize folders and looks for what a cluster, or the kernel in it, would refuse. It
// needs no cluster: the manifests go through the decoding, defaulting and validation code of the API server
// itself, through the Pod Security Standard "restricted", and through the rules of this package, which compare
// them with the kernel's sources. A module of its own keeps all this out of the kernel's.
//
//	go run . ../overlays/small ../overlays/production
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// root is the repository, seen from this folder.
const root = "../../.."

func main() {
	kernel, err := readKernel(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	failed := len(os.Args) < 2
	for _, dir := range os.Args[1:] {
		b, findings := load(filesys.MakeFsOnDisk(), dir)
		findings = append(findings, b.check(kernel)...)
		for _, f := range findings {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %s\n", dir, f)
		}
		if len(findings) == 0 {
			fmt.Printf("%s: %d objects, nothing to find fault with\n", dir, len(b.objects))
		}
	}
	if failed {
		os.Exit(1)
	}
}
