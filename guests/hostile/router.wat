;; A well-behaved router by hand: it forwards everything to the plugin `catalog`. The guests of `zoo/` replace what stands behind a
;; `;;@` mark, each with what makes it hostile (`host/engine/tests/zoo/` puts them together).
(module
  ;;@memory
  (memory (export "memory") 16)
  ;;@end
  ;;@data
  (data (i32.const 512) "catalog")
  (data (i32.const 528) "by-hand")
  (data (i32.const 544) "1.0.0")
  ;;@end
  ;; description { name, version, inputs: [], settings-schema: "" }
  (data (i32.const 256) "\10\02\00\00\07\00\00\00\20\02\00\00\05\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
  ;;@module
  ;;@end
  (func $start
    ;;@start
    ;;@end
  )
  (start $start)
  ;; Each text lies over the one before: a hand-written router reads none.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    ;;@realloc
    ;;@end
    (i32.const 4096))
  (func (export "orbit:policy/routing@1.0.0#describe") (result i32) (i32.const 256))
  ;; ok(configured { settings: [], inputs: [] }): all zero
  (func (export "orbit:policy/routing@1.0.0#configure") (param i32 i32) (result i32) (i32.const 320))
  ;; ok(forward { plugin: "catalog", timeout-ms: 7, extra: [] }) at 1024: tags at 1024 and 1028, plugin at 1032 and 1036, timeout-ms at
  ;; 1040, extra at 1044 and 1048.
  (func $forward (result i32)
    (i32.store (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (i32.const 0))
    (i32.store (i32.const 1032) (i32.const 512)) (i32.store (i32.const 1036) (i32.const 7))
    (i32.store (i32.const 1040) (i32.const 7))
    (i32.store (i32.const 1044) (i32.const 0)) (i32.store (i32.const 1048) (i32.const 0))
    (i32.const 1024))
  ;; Settings (pointer, length), five strings and two lists: just the 16 parameters that still come flat.
  (func (export "orbit:policy/routing@1.0.0#route")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (local $n i32)
    ;;@route
    ;;@end
    (call $forward))
  (func (export "cabi_post_orbit:policy/routing@1.0.0#route") (param i32)
    ;;@post
    ;;@end
  )
)
