;; A router by hand. ;;ROUTE is the body of `route`, ;;START of the start function.
(component
  (type $pair' (record (field "name" string) (field "value" string)))
  (import "orbit:policy/types@1.0.0" (instance $types
    (type $pair' (record (field "name" string) (field "value" string)))
    (export "pair" (type $pair (eq $pair')))
    (type $description' (record (field "name" string) (field "version" string) (field "inputs" (list string))
      (field "settings-schema" string)))
    (export "description" (type $description (eq $description')))
    (type $configured' (record (field "settings" (list u8)) (field "inputs" (list string))))
    (export "configured" (type $configured (eq $configured')))
    (type $refusal' (record (field "status" u16) (field "reason" string)))
    (export "refusal" (type $refusal (eq $refusal')))
  ))
  (alias export $types "pair" (type $pair))
  (alias export $types "description" (type $description))
  (alias export $types "configured" (type $configured))
  (alias export $types "refusal" (type $refusal))
  (core module $m
    (memory (export "memory") 16)
    (data (i32.const 512) "catalog")
    (data (i32.const 528) "by-hand")
    (data (i32.const 544) "1.0.0")
    ;; description { name, version, inputs: [], settings-schema: "" } at 256
    (data (i32.const 256) "\10\02\00\00\07\00\00\00\20\02\00\00\05\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
    ;; ok(configured { settings: [], inputs: [] }) at 320
    (data (i32.const 320) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
    (func $start ;;START
    )
    (start $start)
    (func $recurse (call $recurse) (call $recurse))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "describe") (result i32) (i32.const 256))
    (func (export "configure") (param i32 i32) (result i32) (i32.const 320))
    (func (export "route") (param i32) (result i32)
      ;;ROUTE
      unreachable
    )
  )
  (core instance $i (instantiate $m))
  (type $request' (record (field "workspace" string) (field "tier" string) (field "method" string) (field "path" string)
    (field "query" string) (field "headers" (list $pair)) (field "extra" (list $pair))))
  (type $forward' (record (field "plugin" string) (field "timeout-ms" u32) (field "extra" (list $pair))))
  (func $describe (result $description) (canon lift (core func $i "describe") (memory $i "memory")))
  (func $configure (param "settings" string) (result (result $configured (error string)))
    (canon lift (core func $i "configure") (memory $i "memory") (realloc (func $i "realloc"))))
  (component $shim
    (import "pair" (type $pair' (eq (record (field "name" string) (field "value" string)))))
  )
)
