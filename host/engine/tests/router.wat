;; A router by hand; the test fills in the bodies of `route` and of the start function.
(module
  (memory (export "memory") 16)
  (data (i32.const 512) "catalog")
  (data (i32.const 528) "by-hand")
  (data (i32.const 544) "1.0.0")
  ;; description { name, version, inputs: [], settings-schema: "" }
  (data (i32.const 256) "\10\02\00\00\07\00\00\00\20\02\00\00\05\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  (func $start
    ;;START
  )
  (start $start)
  (func $recurse (call $recurse) (call $recurse))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "orbit:policy/routing@1.0.0#describe") (result i32) (i32.const 256))
  ;; ok(configured { settings: [], inputs: [] }): all zero
  (func (export "orbit:policy/routing@1.0.0#configure") (param i32 i32) (result i32) (i32.const 320))
  ;; Settings (pointer, length), five strings and two lists: just the 16 parameters that still come flat.
  (func (export "orbit:policy/routing@1.0.0#route") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    ;;ROUTE
    unreachable
  )
)
