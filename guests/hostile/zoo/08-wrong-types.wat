;; W-08: the right names with other types
;; outcome: load contract
;; says: it can't be set up: expected
;; cost: quick

;;@component
(component
  (core module $m (memory (export "memory") 1) (func (export "f") (result i32) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $f (result string) (canon lift (core func $i "f") (memory (core memory $i "memory"))))
  (instance $r (export "describe" (func $f)) (export "configure" (func $f)) (export "route" (func $f)))
  (export "orbit:policy/routing@1.0.0" (instance $r)))
