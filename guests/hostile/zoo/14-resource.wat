;; W-13, W-14: a resource of its own, with a destructor
;; outcome: refused
;; says: resource handles
;; cost: quick

;;@component
(component
  (core module $m (func (export "drop") (param i32) (loop $l (br $l))))
  (core instance $i (instantiate $m))
  (type $r (resource (rep i32) (dtor (core func $i "drop"))))
  (core func $new (canon resource.new $r)))
