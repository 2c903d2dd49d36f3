// Package api is the HTTP contract: the OpenAPI document, the types of its schemas and, one package
// below for each tag, the interface a service implements to serve its routes.
//
// openapi.yaml is written by hand; everything named *.gen.go follows from it.
package api

import _ "embed"

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config models.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config schedulerapi/server.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config contextapi/server.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config llmgatewayapi/server.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config toolsapi/server.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config auditapi/server.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config learningapi/server.cfg.yaml openapi.yaml
//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -templates templates -config ../libs/client/internal/rest/client.cfg.yaml openapi.yaml

//go:embed openapi.yaml
var spec []byte

// Spec is the OpenAPI document as it is served at /openapi.yaml. The caller must not change it.
func Spec() []byte { return spec }
