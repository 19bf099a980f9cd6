;; W-09: an allocator that points outside memory
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick

;;@realloc
;; Only for what a request brings: the settings come at load.
(if (i32.ne (local.get $size) (i32.const 2)) (then (return (i32.const 0x7ffffff0))))
