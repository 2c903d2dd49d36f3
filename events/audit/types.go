package audit

import "github.com/agentos-kernel/agentos/events"

// Types lists the family for registries, goldens and the catalogue.
func Types() []events.Type {
	return []events.Type{
		events.TypeOf("The audit log's newest head was signed.", HeadSigned{
			Size: 2, Root: "9d9ba6be3cf53a45cd5d0b0a30d6ba05c57c4e6a5a94b1ef2d5a0a6d4b0e5c11",
			Note: "agentos/audit\n2\nnZumvjz1OkXNXQsKMNa6BcV8TmpalLHvLVoKbUsOXBE=\n\n— agentos/audit hI2DJw==\n",
		}),
	}
}
